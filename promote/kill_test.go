// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestKillProcess(t *testing.T) {
	for name, stop := range map[string]bool{"running": false, "frozen": true} {
		t.Run(name, func(t *testing.T) {
			cmd := sleeper(t)
			if stop {
				if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			killed, err := killProcess(testContext(t), func() (int, error) { return cmd.Process.Pid, nil })
			if err != nil || killed != cmd.Process.Pid {
				t.Fatalf("killed %d, %v", killed, err)
			}
			if !processEnded(killed) {
				t.Error("returned before its end")
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// If the process behind a number changes while it is looked up, the one that is
// there now is meant.
func TestKillProcessAsksAgain(t *testing.T) {
	old, now := sleeper(t), sleeper(t)
	asked := 0
	killed, err := killProcess(testContext(t), func() (int, error) {
		if asked++; asked == 1 {
			return old.Process.Pid, nil
		}
		return now.Process.Pid, nil
	})
	if err != nil || killed != now.Process.Pid {
		t.Errorf("killed %d, %v, want %d", killed, err, now.Process.Pid)
	}
	if processEnded(old.Process.Pid) {
		t.Error("killed the wrong one")
	}
}

func TestKillProcessGone(t *testing.T) {
	_, err := killProcess(testContext(t), func() (int, error) { return 0, os.ErrProcessDone })
	if !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("error %v", err)
	}
}
