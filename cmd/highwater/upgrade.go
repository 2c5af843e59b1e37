// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"highwater/supervisor/web"
)

// program is the file that this process was started from. An upgrade puts another one in its
// place.
type program struct {
	path string
	args []string // with its name
}

// thisImage is what this process runs, also when its file is gone.
const thisImage = "/proc/self/exe"

// thisProgram finds the path by which this process was called: a symbolic link may lead elsewhere
// when it is called again.
func thisProgram() (program, error) {
	running, err := os.Stat(thisImage)
	if err != nil {
		return program{}, fmt.Errorf("look at this program: %w", err)
	}
	path, err := exec.LookPath(os.Args[0]) // as it is, if there is a slash in it
	if err == nil {
		path, err = filepath.Abs(path)
	}
	called, statErr := os.Stat(path)
	if err != nil || statErr != nil || !os.SameFile(running, called) { // argv[0] is only a word
		if path, err = os.Executable(); err != nil {
			return program{}, fmt.Errorf("find this program: %w", err)
		}
	}
	return program{path: path, args: os.Args}, nil
}

const (
	// acceptTimeout bounds what the new program may take to look at the configuration.
	acceptTimeout = 10 * time.Second
	// acceptOutput is how much of what it says is kept.
	acceptOutput = 4 << 10
)

// accepts asks the file that is there now for its version, and whether it would run with the
// configuration.
func (p program) accepts(ctx context.Context, config string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	said, err := p.ask(ctx, "version")
	if err != nil {
		return "", err
	}
	version, ok := strings.CutPrefix(said, "highwater ")
	if !ok || strings.Contains(version, "\n") {
		return "", fmt.Errorf("run %s: it is not highwater, it says %q", p.path, said)
	}
	if _, err := p.ask(ctx, "check", "--config-only", "--config", config); err != nil {
		return "", fmt.Errorf("have highwater %s accept the configuration: %w", version, err)
	}
	return version, nil
}

// ask runs the file that is there now, and returns what it says.
func (p program) ask(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr head
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // a child of its may hold the pipes
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case stderr.String() != "":
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return "", fmt.Errorf("run %s %s: %w", p.path, args[0], err)
}

// head keeps the beginning of what is written to it.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), acceptOutput-len(h.kept))]...)
	return len(p), nil
}

func (h *head) String() string { return strings.TrimSpace(string(h.kept)) }

// takeOver has the file that is there now take this process over. If that fails, it has changed
// since it was looked at: then what runs now begins anew, which is still there although its file is
// not. reopen opens the log once more after e.flush has closed it.
func (p program) takeOver(e *env, reopen func() *slog.Logger) error {
	e.flush()
	err := p.become(p.path)
	reopen().Error("upgrade.failed", "error", err)
	e.flush()
	return p.become(thisImage)
}

// become has the file at path take this process over, called as this program was. It returns only
// when it cannot. Every descriptor but the standard ones closes by itself.
func (p program) become(path string) error {
	// A second SIGUSR2 must not end the new program before it knows what the signal means.
	signal.Ignore(syscall.SIGUSR2)
	err := syscall.Exec(path, p.args, os.Environ())
	return fmt.Errorf("run %s: %w", path, err)
}

// endOrdered reports whether a signal that came too late for the node asks for the end of the process,
// and has any later one end it.
func endOrdered(signals chan os.Signal) bool {
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGUSR2 {
				return true
			}
		default:
			return false
		}
	}
}

const (
	// takeoverTimeout bounds the wait for the new program's first answer.
	takeoverTimeout = 15 * time.Second
	takeoverPause   = 50 * time.Millisecond
)

func cmdUpgrade(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "upgrade", "[--config FILE]\n\nHas the program file that is on the disk now take over the running supervisor's process, with the configuration\nas it is now. Nothing moves and no connection breaks. A file that does not run, or does not accept the\nconfiguration, is refused, and the running supervisor goes on. SIGUSR2 to the supervisor does the same.")
	if err := parse(f, args); err != nil {
		return err
	}
	old, err := supervisorStatus(ctx, *path)
	if err != nil {
		return reached(err)
	}
	if err := order(ctx, e, *path, "upgrade", nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, takeoverTimeout)
	defer cancel()
	var last error
	for {
		s, err := supervisorStatus(ctx, *path)
		if err == nil && !s.Started.Equal(old.Started) {
			_, err := fmt.Fprintf(e.stdout, "highwater %s runs in the place of %s\n", s.Version, old.Version)
			return err
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(takeoverPause):
		case <-ctx.Done():
			return failf(exitFailed, "the new program does not answer within %v, its log says why: %v", takeoverTimeout, last)
		}
	}
}

// supervisorStatus asks the local supervisor.
func supervisorStatus(ctx context.Context, path string) (web.Status, error) {
	var s web.Status
	c, err := client(path)
	if err != nil {
		return s, err
	}
	document, err := c.Status(ctx)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(document, &s); err != nil {
		return s, fmt.Errorf("decode status: %w", err)
	}
	return s, nil
}
