// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"highwater/election/vrrpnet/netnstest"
	"highwater/test/lab"
)

// patience bounds waits that end long before, unless something is broken.
const patience = 30 * time.Second

// keepalived is a running keepalived with one vrrp_instance.
type keepalived struct {
	host *netnstest.Host
	cmd  *exec.Cmd
	vips []netip.Addr

	mu    sync.Mutex
	lines []string
	ended chan struct{} // closed when its log ended
}

// startKeepalived starts keepalived on a host. instance is the body of the
// vrrp_instance, without virtual_ipaddress. It ends with the test, which shows
// its log if it fails.
func startKeepalived(t *testing.T, h *netnstest.Host, instance string, vips []netip.Addr) *keepalived {
	t.Helper()
	program, err := lab.Program("keepalived")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var list strings.Builder
	for _, ip := range vips {
		fmt.Fprintf(&list, "%s dev %s\n", netip.PrefixFrom(ip, ip.BitLen()), cable)
	}
	config := fmt.Sprintf("vrrp_instance VI {\ninterface %s\n%s\nvirtual_ipaddress {\n%s}\n}\n", cable, instance, &list)
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &keepalived{host: h, vips: vips, ended: make(chan struct{})}
	k.cmd = exec.Command(program, "--vrrp", "--dont-fork", "--log-console", "--log-detail",
		"--use-file", file, "--pid", filepath.Join(dir, "pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"))
	// A process group, so that SIGKILL reaches parent and child: each would notice
	// the end of the other.
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k.cmd.Stdout, k.cmd.Stderr = w, w
	err = h.Do(k.cmd.Start)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go k.read(log)
	t.Cleanup(func() {
		if k.cmd.ProcessState == nil {
			k.signal(t, syscall.SIGKILL)
			k.wait(t)
		}
		if t.Failed() {
			t.Logf("configuration of keepalived:\n%s\nits log:\n%s", config, strings.Join(k.log(), "\n"))
		}
	})
	return k
}

func (k *keepalived) read(log io.ReadCloser) {
	defer close(k.ended)
	defer log.Close()
	for s := bufio.NewScanner(log); s.Scan(); {
		k.mu.Lock()
		k.lines = append(k.lines, s.Text())
		k.mu.Unlock()
	}
}

// log returns the lines written so far.
func (k *keepalived) log() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.lines)
}

// state returns the last state that the log names, such as "MASTER".
func (k *keepalived) state() string {
	lines := k.log()
	for _, line := range slices.Backward(lines) {
		if _, rest, ok := strings.Cut(line, "(VI) Entering "); ok {
			state, _, _ := strings.Cut(rest, " STATE")
			return state
		}
	}
	return ""
}

// logged reports whether a line of the log contains text.
func (k *keepalived) logged(text string) bool {
	return slices.ContainsFunc(k.log(), func(line string) bool { return strings.Contains(line, text) })
}

// carries returns how many of its virtual addresses are on its interface.
func (k *keepalived) carries(t *testing.T) int {
	t.Helper()
	n := 0
	for _, ip := range k.host.Addresses(t, cable) {
		if slices.Contains(k.vips, ip) {
			n++
		}
	}
	return n
}

// becomes waits until keepalived is in a state and its addresses agree: all of
// them in MASTER, none otherwise.
func (k *keepalived) becomes(t *testing.T, state string) {
	t.Helper()
	want := 0
	if state == "MASTER" {
		want = len(k.vips)
	}
	eventually(t, "keepalived in state "+state, func() bool { return k.state() == state && k.carries(t) == want })
}

// signal sends SIGTERM, at which keepalived says farewell as when an
// administrator stops it, or SIGKILL, which ends its two processes at once.
func (k *keepalived) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	pid := k.cmd.Process.Pid
	if sig == syscall.SIGKILL {
		pid = -pid // the process group
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Errorf("send %v to keepalived: %v", sig, err)
	}
}

// wait waits until keepalived has ended.
func (k *keepalived) wait(t *testing.T) {
	t.Helper()
	select {
	case <-k.ended: // parent and child have closed their ends of the pipe
	case <-time.After(patience):
		t.Error("keepalived does not end")
	}
	_ = k.cmd.Wait() // how it exits does not matter here
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
