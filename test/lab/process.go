// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is one that the lab started. It dies with the program that started it, however that ends.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// startProcess starts cmd at a place.
func startProcess(at place, cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A group of its own keeps the terminal's Ctrl-C from it: its end is the lab's to arrange.
	cmd.SysProcAttr.Setpgid = true
	if !at.ownPIDs {
		// Those in a PID namespace end with its init. (For them syscall's check that the parent still lives always
		// fails, since the parent has no number in there.)
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if at.cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(at.cgroup.Fd())
	}
	if cmd.WaitDelay == 0 {
		// Children of a killed process may hold its output open: its end is not to wait for theirs.
		cmd.WaitDelay = 200 * time.Millisecond
	}
	started := make(chan error, 1)
	onThread(func() {
		if err := at.namespaces.enter(); err != nil {
			started <- err
			return
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		// Waiting here keeps the thread: the kernel sends the parent-death signal when the *thread* that forked ends.
		p.err = cmd.Wait()
		close(p.done)
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// Pid is the process' id in the caller's PID namespace.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive reports whether the process has not ended; a stopped one is alive.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the process to end and returns what exec.Cmd.Wait returned.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.cmd.Path, ctx.Err())
	}
}

// Signal sends one signal; to a process that has ended it returns os.ErrProcessDone.
func (p *Process) Signal(sig syscall.Signal) error {
	return p.cmd.Process.Signal(sig)
}

// Kill ends the process with SIGKILL and waits until it is gone. Its children live on.
func (p *Process) Kill() {
	// The only error is that it has ended already.
	_ = p.Signal(unix.SIGKILL)
	<-p.done
}

// Stop freezes the process with SIGSTOP, Cont lets it go on.
func (p *Process) Stop() error { return p.Signal(unix.SIGSTOP) }

// Cont undoes Stop.
func (p *Process) Cont() error { return p.Signal(unix.SIGCONT) }

// exitCode is the exit code of an ended process, or -1 if a signal ended it.
func (p *Process) exitCode() int { return p.cmd.ProcessState.ExitCode() }
