// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newLab(t *testing.T, c Config) *Lab {
	t.Helper()
	Require(t, "root")
	if c.Flavor != "" {
		Require(t, string(c.Flavor))
	}
	l, err := New(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// listen answers UDP datagrams on the host until the test ends.
func listen(t *testing.T, h *Host) {
	t.Helper()
	err := h.Inside(func() error {
		conn, err := net.ListenPacket("udp", ":7")
		if err != nil {
			return err
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 64)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				// A lost answer is what the test looks for.
				_, _ = conn.WriteTo(buf[:n], from)
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// echo reports whether a datagram from one host to the address comes back. When it should, it tries for ten seconds: a
// kernel that could not resolve its neighbour just now tries again each second.
func echo(t *testing.T, from *Host, to netip.Addr, want bool) bool {
	t.Helper()
	conn, err := from.Dial(testContext(t), "udp", netip.AddrPortFrom(to, 7).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 64)
	tries := 3
	if want {
		tries = 70
	}
	for i := range tries {
		message := fmt.Sprintf("echo %d", i)
		if _, err := conn.Write([]byte(message)); err != nil {
			time.Sleep(100 * time.Millisecond) // the neighbour is unreachable
			continue
		}
		conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
		if n, err := conn.Read(buf); err == nil && strings.HasPrefix(string(buf[:n]), "echo") {
			return true
		}
	}
	return false
}

// reach checks who reaches whom, in both directions and over both protocols.
func reach(t *testing.T, a, b *Host, want bool) {
	t.Helper()
	for _, pair := range [][2]*Host{{a, b}, {b, a}} {
		for _, to := range []netip.Addr{pair[1].Address(), pair[1].Address6()} {
			if got := echo(t, pair[0], to, want); got != want {
				t.Errorf("%s reaches %s at %s: %t, want %t", pair[0], pair[1], to, got, want)
			}
		}
	}
}

// must fails the test on an error of a step.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNetworkFaults(t *testing.T) {
	l := newLab(t, Config{Hosts: 3, Witnesses: 1})
	db1, db2, db3, w1 := l.Host("db1"), l.Host("db2"), l.Host("db3"), l.Host("w1")
	for _, h := range l.all() {
		listen(t, h)
	}
	reach(t, db1, db2, true)
	reach(t, db2, db3, true)
	reach(t, l.Client(), db1, true)

	t.Run("partition", func(t *testing.T) {
		f, err := l.Partition([]*Host{db1}, []*Host{db2, db3})
		must(t, err)
		reach(t, db1, db2, false)
		reach(t, db2, db3, true)
		reach(t, db1, w1, true)
		must(t, f.Heal())
		reach(t, db1, db2, true)
	})
	t.Run("one way", func(t *testing.T) {
		// UDP is no use here: an echo needs both ways. What arrives is counted instead.
		f, err := l.OneWay([]*Host{db1}, []*Host{db2})
		must(t, err)
		if arrives(t, db1, db2) {
			t.Error("db1 is heard by db2")
		}
		if !arrives(t, db2, db1) {
			t.Error("db2 is not heard by db1")
		}
		must(t, f.Heal())
		if !arrives(t, db1, db2) {
			t.Error("db1 is not heard by db2 after healing")
		}
	})
	t.Run("isolate", func(t *testing.T) {
		_, err := db1.Isolate()
		must(t, err)
		reach(t, db1, db3, false)
		if state, err := db1.Run(testContext(t), "cat", "/sys/class/net/eth0/carrier"); err != nil || state != "1\n" {
			t.Errorf("carrier of an isolated host: %q, %v", state, err)
		}
		must(t, l.Heal())
		reach(t, db1, db3, true)
	})
	t.Run("unplug", func(t *testing.T) {
		must(t, db1.Unplug())
		if state, err := db1.Run(testContext(t), "cat", "/sys/class/net/eth0/carrier"); err != nil || state != "0\n" {
			t.Errorf("carrier of an unplugged host: %q, %v", state, err)
		}
		must(t, db1.Plug())
		reach(t, db1, db3, true)
	})
	t.Run("link down", func(t *testing.T) {
		must(t, db1.LinkDown())
		if echo(t, db2, db1.Address(), false) {
			t.Error("db1 answers with its link down")
		}
		must(t, db1.LinkUp())
		if !echo(t, db2, db1.Address(), true) {
			t.Error("db1 does not answer with its link up again")
		}
	})
	t.Run("loss", func(t *testing.T) {
		f, err := l.Loss([]*Host{db1}, []*Host{db2}, 50)
		must(t, err)
		const sent = 400
		if got := count(t, db1, db2, sent); got < sent/4 || got > sent*3/4 {
			t.Errorf("%d of %d datagrams arrived with 50 %% loss", got, sent)
		}
		must(t, f.Heal())
	})
	t.Run("drop by match", func(t *testing.T) {
		f, err := l.Drop(nil, []*Host{db2}, "udp dport 7")
		must(t, err)
		if echo(t, db1, db2.Address(), false) {
			t.Error("port 7 of db2 answers")
		}
		if !arrives(t, db1, db2) {
			t.Error("another port of db2 is cut off too")
		}
		must(t, f.Heal())
	})
	t.Run("bad match", func(t *testing.T) {
		if _, err := l.Drop(nil, nil, "no such expression"); err == nil {
			t.Error("accepted")
		}
		reach(t, db1, db2, true)
	})
}

// arrives reports whether a datagram gets from one host to another. Neighbours are entered by hand, for resolving
// them takes both ways.
func arrives(t *testing.T, from, to *Host) bool {
	t.Helper()
	mac, err := to.Run(testContext(t), "cat", "/sys/class/net/eth0/address")
	must(t, err)
	_, err = from.Run(testContext(t), "ip", "neigh", "replace", to.Address().String(), "lladdr", strings.TrimSpace(mac), "dev", Interface)
	must(t, err)
	got := count(t, from, to, 5) > 0
	_, err = from.Run(testContext(t), "ip", "neigh", "del", to.Address().String(), "dev", Interface)
	must(t, err)
	return got
}

// count sends datagrams from one host to another and counts those that arrive.
func count(t *testing.T, from, to *Host, sent int) int {
	t.Helper()
	var in net.PacketConn
	must(t, to.Inside(func() (err error) {
		in, err = net.ListenPacket("udp4", ":9")
		return err
	}))
	defer in.Close()
	out, err := from.Dial(testContext(t), "udp", netip.AddrPortFrom(to.Address(), 9).String())
	must(t, err)
	defer out.Close()
	for range sent {
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Microsecond)
	}
	got := 0
	for buf := make([]byte, 8); ; got++ {
		in.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, _, err := in.ReadFrom(buf); err != nil {
			return got
		}
	}
}

// ticker starts a process on the host that appends to a file for ever, and returns how many bytes it has written.
func ticker(t *testing.T, h *Host) (*Process, func() int64) {
	t.Helper()
	file := filepath.Join(h.Dir(), "ticks")
	p, err := h.Start(exec.Command("/bin/sh", "-c", "while :; do echo >>"+file+"; sleep 0.01; done"))
	must(t, err)
	return p, func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
}

// moves reports whether the counter advances; a running one gets ten seconds for it.
func moves(size func() int64, within time.Duration) bool {
	before := size()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if size() > before {
			return true
		}
	}
	return false
}

func TestFreezeStopsEverything(t *testing.T) {
	for _, way := range []string{"cgroup", "signals"} {
		t.Run(way, func(t *testing.T) {
			l := newLab(t, Config{Hosts: 1})
			h := l.Host("db1")
			if way == "signals" {
				h.group = ""
			} else if h.group == "" {
				t.Skip("no writable cgroup2 hierarchy")
			}
			_, ticks := ticker(t, h)
			if !moves(ticks, 10*time.Second) {
				t.Fatal("does not tick")
			}
			must(t, h.Freeze())
			if moves(ticks, 300*time.Millisecond) {
				t.Error("a frozen host ticks")
			}
			must(t, h.Thaw())
			if !moves(ticks, 10*time.Second) {
				t.Error("a thawed host does not tick")
			}
			must(t, h.Freeze()) // Close must cope
		})
	}
}

func TestPowerOffKillsAll(t *testing.T) {
	l := newLab(t, Config{Hosts: 2})
	h, other := l.Host("db1"), l.Host("db2")
	p, ticks := ticker(t, h)
	orphan, err := h.Run(testContext(t), "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
	must(t, err)
	if orphan == "" {
		t.Fatal("no orphan")
	}
	before, err := h.pids()
	must(t, err)
	if len(before) < 3 {
		t.Fatalf("processes on the host: %v", before)
	}
	must(t, h.AddAddress(netip.PrefixFrom(VIP, 32)))
	if carriers, err := l.Carriers(VIP); err != nil || len(carriers) != 1 || carriers[0] != h {
		t.Errorf("carriers of the VIP: %v, %v", carriers, err)
	}

	must(t, h.PowerOff())
	select {
	case <-p.Done(): // noticed a moment after the kernel has killed it
	case <-time.After(5 * time.Second):
		t.Error("the ticker is alive")
	}
	for _, pid := range before {
		// The kernel kills them all with their init and waits for that, so none may be left.
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("process %d is there after PowerOff: %v", pid, err)
		}
	}
	if moves(ticks, 100*time.Millisecond) {
		t.Error("ticks after PowerOff")
	}
	if carriers, err := l.Carriers(VIP); err != nil || len(carriers) != 0 {
		t.Errorf("carriers of the VIP: %v, %v", carriers, err)
	}
	if _, err := h.Start(exec.Command("/bin/true")); !errors.Is(err, ErrOff) {
		t.Errorf("start on a host that is off: %v", err)
	}
	if err := h.LinkDown(); !errors.Is(err, ErrOff) {
		t.Errorf("LinkDown on a host that is off: %v", err)
	}
	listen(t, other)
	must(t, h.PowerOn(testContext(t)))
	listen(t, h)
	reach(t, h, other, true)
	if has, err := h.Carries(VIP); err != nil || has {
		t.Errorf("the VIP is back after a power cycle: %t, %v", has, err)
	}
}

// Labs have the same addresses and names, each on its own switch.
func TestTwoLabsAtOnce(t *testing.T) {
	a, b := newLab(t, Config{Hosts: 1}), newLab(t, Config{Hosts: 1})
	listen(t, a.Host("db1"))
	if !echo(t, a.Client(), a.Host("db1").Address(), true) {
		t.Error("no echo in the first lab")
	}
	if echo(t, b.Client(), b.Host("db1").Address(), false) {
		t.Error("the second lab answers for the first")
	}
}

func TestHostLooksLikeAMachine(t *testing.T) {
	l := newLab(t, Config{Hosts: 1})
	out, err := l.Host("db1").Run(testContext(t), "sh", "-c", "hostname; ls /sys/class/net; ls /run; cat /proc/1/comm")
	must(t, err)
	if want := "db1\neth0\nlo\nmysqld\nsleep\n"; out != want {
		t.Errorf("a shell on db1 shows %q, want %q", out, want)
	}
}

// leftovers are the directories and cgroups of labs of a process.
func leftovers(t *testing.T, pid int) []string {
	t.Helper()
	pattern := fmt.Sprintf("hwlab-%d-*", pid)
	found, err := filepath.Glob(filepath.Join(os.TempDir(), pattern))
	must(t, err)
	groups, err := filepath.Glob(filepath.Join(cgroupMount(), pattern))
	must(t, err)
	return append(found, groups...)
}

func TestCloseLeavesNothing(t *testing.T) {
	Require(t, "root")
	before := len(leftovers(t, os.Getpid()))
	l, err := New(testContext(t), Config{Hosts: 2, DiskSize: 32 << 20})
	must(t, err)
	must(t, l.Host("db1").FreezeDisk())
	if len(leftovers(t, os.Getpid())) <= before {
		t.Fatal("a lab that runs has no directory")
	}
	must(t, l.Close())
	if left := leftovers(t, os.Getpid()); len(left) != before {
		t.Errorf("left behind: %v", left)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if strings.Contains(string(mounts), l.Dir()) {
		t.Error("a mount was left behind")
	}
}

// runs reports whether a process exists that has not ended; one that waits for its parent's attention has.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// proc_pid_stat(5): the state follows the name in parentheses.
	_, rest, found := strings.Cut(string(stat), ") ")
	return found && rest[0] != 'Z' && rest[0] != 'X'
}

const crashVariable = "HIGHWATER_LAB_TEST_CRASH"

// TestMain is also the program that TestCrashLeavesNothing kills.
func TestMain(m *testing.M) {
	if os.Getenv(crashVariable) == "" {
		os.Exit(m.Run())
	}
	if err := runUntilKilled(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runUntilKilled() error {
	l, err := New(context.Background(), Config{Hosts: 2, DiskSize: 32 << 20})
	if err != nil {
		return err
	}
	if _, err := l.Host("db1").Start(exec.Command("/bin/sleep", "infinity")); err != nil {
		return err
	}
	if err := l.Host("db2").FreezeDisk(); err != nil {
		return err
	}
	fmt.Println("pid", l.Host("db1").Pid())
	time.Sleep(time.Minute)
	return errors.New("nobody killed it")
}

func TestCrashLeavesNothing(t *testing.T) {
	Require(t, "root")
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), crashVariable+"=1")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			pid := 0
			for pid == 0 {
				var word string
				if _, err := fmt.Fscan(out, &word); err != nil {
					t.Fatalf("the lab did not come up: %v", err)
				}
				if word == "pid" {
					_, err := fmt.Fscan(out, &pid)
					must(t, err)
				}
			}
			must(t, cmd.Process.Signal(sig))
			if err := cmd.Wait(); err == nil {
				t.Error("the program ended well")
			}
			deadline := time.Now().Add(20 * time.Second)
			for time.Now().Before(deadline) && (len(leftovers(t, cmd.Process.Pid)) > 0 || runs(pid)) {
				time.Sleep(20 * time.Millisecond)
			}
			if left := leftovers(t, cmd.Process.Pid); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if runs(pid) {
				t.Error("the host's init outlived the program")
			}
		})
	}
}

// Sweep removes what a dead program left, and spares a living one's.
func TestSweep(t *testing.T) {
	Require(t, "root")
	dir := t.TempDir()
	dead := filepath.Join(dir, "hwlab-1-1")
	must(t, os.MkdirAll(filepath.Join(dead, "db1/mysql"), 0o755))
	must(t, os.WriteFile(filepath.Join(dead, lockName), nil, 0o644))
	l, err := New(testContext(t), Config{Hosts: 1, Dir: dir})
	must(t, err)
	defer l.Close()
	must(t, Sweep(dir))
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead lab is there: %v", err)
	}
	if _, err := os.Stat(l.Dir()); err != nil {
		t.Errorf("the living lab is gone: %v", err)
	}
}
