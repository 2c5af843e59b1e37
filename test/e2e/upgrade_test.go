// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"highwater/supervisor/control"
	"highwater/supervisor/web"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// nextVersion is that of nextBinary.
const nextVersion = "next-to-come"

// nextBinary is the program under test with another version.
var nextBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "highwater-next")
	args := []string{"build", "-ldflags", "-X main.version=" + nextVersion, "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "highwater/cmd/highwater")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the next program: %w\n%s", err, out)
	}
	return path, nil
})

// Every supervisor is upgraded in its place, the primary's last: nothing moves and no connection
// breaks. Then what cannot run is refused, and what runs goes on.
func TestUpgrade(t *testing.T) { upgrade(t, semiSync()) }

// The same with a quorum, which has to give the primary its right again.
func TestQuorumUpgrade(t *testing.T) { upgrade(t, majority()) }

func upgrade(t *testing.T, c cluster.Config) {
	next, err := nextBinary()
	if err != nil {
		t.Fatal(err)
	}
	c.Lease = 6 * time.Second // this machine may take its time to start a process
	c.Binary = filepath.Join(t.TempDir(), "highwater")
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	install(t, c.Binary, program)
	r := start(t, c)
	w := r.write()

	if program, err = os.ReadFile(next); err != nil {
		t.Fatal(err)
	}
	install(t, c.Binary, program)
	out, err := r.Command(r.ctx, r.db(2), "upgrade") // the command waits for the new one
	r.must(err)
	if !strings.Contains(out, nextVersion+" runs in the place of devel") {
		t.Errorf("upgrade says %q", out)
	}
	for _, h := range []*lab.Host{r.db(3), r.db(1)} {
		r.must(r.Supervisor(h).Signal(syscall.SIGUSR2))
		r.runs(h, func(s web.Status) bool { return s.Version == nextVersion })
		r.stays(2 * time.Second)
	}
	r.stays(7 * time.Second) // longer than the lease and every timer of the others
	s := r.settled(r.db(1))
	for _, h := range s.Hosts {
		if h.Version != nextVersion {
			t.Errorf("%s runs %s", h.Name, h.Version)
		}
	}

	// Whatever cannot go on is refused.
	before := r.runs(r.db(1), func(web.Status) bool { return true })
	install(t, c.Binary, []byte("\x7fELF and no more"))
	r.refused(next, "exec format error")
	install(t, c.Binary, program)
	good, err := os.ReadFile(r.ConfigFile(r.db(1)))
	r.must(err)
	r.must(os.WriteFile(r.ConfigFile(r.db(1)), append(good, "fencing_: {}\n"...), 0o600))
	r.refused("", "fencing_")
	r.must(os.WriteFile(r.ConfigFile(r.db(1)), good, 0o600))
	if s := r.runs(r.db(1), func(web.Status) bool { return true }); !s.Started.Equal(before.Started) {
		t.Errorf("the supervisor that refused has been started again")
	}

	// What turns bad after it was looked at does not keep the one that runs from going on.
	install(t, c.Binary, fmt.Appendf(nil, "#!/bin/sh\n[ $1 = version ] && exec echo highwater fickle\necho no program > %[1]s.new\nchmod 755 %[1]s.new\nmv %[1]s.new %[1]s\n", c.Binary))
	r.must(r.Supervisor(r.db(1)).Signal(syscall.SIGUSR2))
	s = r.runs(r.db(1), func(s web.Status) bool { return !s.Started.Equal(before.Started) })
	if s.Version != nextVersion || r.times(r.db(1), "msg=upgrade.failed") != 1 {
		t.Errorf("after the exec that fails %s runs", s.Version)
	}
	r.stays(7 * time.Second)
	install(t, c.Binary, program) // for the commands
	if record := r.end(w, r.db(1), 0); record.Errors != 0 {
		t.Errorf("%d connections broke, the last by %v", record.Errors, record.LastError)
	}
}

// install replaces a program while it runs, in one step.
func install(t *testing.T, path string, program []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// runs waits for a status of the supervisor of a host that is as wanted; the process is the same.
func (r *rig) runs(h *lab.Host, wanted func(web.Status) bool) web.Status {
	r.t.Helper()
	var s web.Status
	r.eventually(moveTime, func() string {
		if !r.Supervisor(h).Alive() {
			r.t.Fatalf("the process of the supervisor of %s has ended", h)
		}
		_, body, err := r.Get(r.ctx, h, "/v1/status")
		if err == nil {
			s = web.Status{}
			err = json.Unmarshal(body, &s)
		}
		if err != nil {
			return err.Error()
		}
		if !wanted(s) {
			return fmt.Sprintf("%s runs %s since %s", h, s.Version, s.Started)
		}
		return ""
	})
	return s
}

// refused orders db1 to be upgraded, by a program of its own or the one that is installed, and
// by the signal, and expects both to be refused with a reason that is named.
func (r *rig) refused(program, why string) {
	r.t.Helper()
	h := r.db(1)
	before := r.times(h, "msg=upgrade.refused")
	if program != "" {
		out, err := h.Run(r.ctx, program, "upgrade", "--config", r.ConfigFile(h))
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != control.CodeRefused || !strings.Contains(out, why) {
			r.t.Errorf("upgrade: %v: %s; want it refused for %q", err, out, why)
		}
		before++
	}
	r.must(r.Supervisor(h).Signal(syscall.SIGUSR2))
	r.eventually(moveTime, func() string {
		if n := r.times(h, "msg=upgrade.refused"); n != before+1 {
			return fmt.Sprintf("%d refusals are logged, want %d", n, before+1)
		}
		return ""
	})
	r.logged(h, why, time.Second)
	r.stays(time.Second)
}
