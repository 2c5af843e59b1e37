// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessEventKind is what happened to the server process.
type ProcessEventKind uint8

// Process events.
const (
	// ServerStarted: a server process listens; the first event of a Watcher
	// whose server is up.
	ServerStarted ProcessEventKind = iota
	// ServerExited: the process is gone, or nobody listens any more.
	ServerExited
)

// String returns the event in lower case.
func (k ProcessEventKind) String() string {
	if k == ServerStarted {
		return "started"
	}
	return "exited"
}

// ProcessEvent is a start or an end of the server process.
type ProcessEvent struct {
	Kind  ProcessEventKind
	At    time.Duration // CLOCK_BOOTTIME, when it was seen
	Pid   int           // 0: not known
	Cause string        // how it was seen
}

// Process is what the host knows of the server process, without asking it.
type Process struct {
	Known bool
	Alive bool
	Pid   int // 0: not known
}

// ErrNoPid: the server's process id cannot be told from here: it listens on
// TCP, or lives in another PID namespace.
var ErrNoPid = errors.New("process id not known")

// Watcher sees a server process end and start without asking it anything, so it
// sees the end of a frozen one too. On a unix socket the kernel names the
// process that listens (SO_PEERCRED, unix(7)), and a pidfd (pidfd_open(2))
// tells its end at once. Elsewhere the Watcher holds an idle connection: when
// that drops and the next one is refused, the server is gone.
type Watcher struct {
	conn   ConnConfig
	now    func() time.Duration
	events chan ProcessEvent
	// startID names the process behind a held connection.
	startID string

	mu      sync.Mutex
	process Process
}

const (
	// watchRetry is how often a socket without a listener is tried.
	watchRetry = 20 * time.Millisecond
	// holdRetry is how often a connection to hold is tried for, on a server
	// that listens and refuses one.
	holdRetry = time.Second
)

// WatchServer watches the server at c.Address until ctx ends. Account and
// password are needed only where no process id can be had. now reads
// CLOCK_BOOTTIME; nil: the kernel's.
func WatchServer(ctx context.Context, c ConnConfig, now func() time.Duration) *Watcher {
	if now == nil {
		now = Boottime
	}
	w := &Watcher{conn: c, now: now, events: make(chan ProcessEvent, 16)}
	go func() {
		defer close(w.events)
		w.run(ctx)
	}()
	return w
}

// Events returns the channel of events. It must be read; it is closed when the
// Watcher has ended.
func (w *Watcher) Events() <-chan ProcessEvent { return w.events }

// Process returns what is known now.
func (w *Watcher) Process() Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process
}

// Pid returns the id of the running server process, or an error that wraps
// [ErrNoPid].
func (w *Watcher) Pid() (int, error) {
	p := w.Process()
	if !p.Alive || p.Pid == 0 {
		return 0, fmt.Errorf("%w: %s", ErrNoPid, w.conn.Address)
	}
	return p.Pid, nil
}

func (w *Watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		pid, err := ServerPid(ctx, w.conn)
		switch {
		case err == nil:
			err = w.watchPid(ctx, pid)
		case errors.Is(err, ErrNoPid):
			err = w.watchConnection(ctx)
		}
		if err == nil {
			continue
		}
		// Nobody listens, or no connection was to be had.
		wait := holdRetry
		if Classify(err).Class == Refused {
			wait = watchRetry
			w.set(ctx, Process{Known: true}, "refused")
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// set records what is known, and reports a change between alive and gone.
func (w *Watcher) set(ctx context.Context, p Process, cause string) {
	w.mu.Lock()
	before := w.process
	w.process = p
	w.mu.Unlock()
	if !p.Known {
		return
	}
	e := ProcessEvent{Kind: ServerStarted, At: w.now(), Pid: p.Pid, Cause: cause}
	switch {
	case p.Alive && !before.Alive:
	case !p.Alive && before.Alive:
		e.Kind, e.Pid = ServerExited, before.Pid
	default:
		return
	}
	select {
	case w.events <- e:
	case <-ctx.Done():
	}
}

// watchPid waits for the end of one process.
func (w *Watcher) watchPid(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil // gone since it was named: look again
		}
		return fmt.Errorf("open pidfd of %d: %w", pid, err)
	}
	defer unix.Close(fd)
	w.set(ctx, Process{Known: true, Alive: true, Pid: pid}, "listens")
	ended, err := waitFD(ctx, fd, unix.POLLIN)
	if err != nil {
		return fmt.Errorf("wait for the end of %d: %w", pid, err)
	}
	if ended {
		w.set(ctx, Process{Known: true}, "process ended")
	}
	return nil
}

// watchConnection holds a connection until it drops, and then looks whether
// anybody still listens.
func (w *Watcher) watchConnection(ctx context.Context) error {
	var held net.Conn
	c := w.conn
	c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := w.conn.dial(ctx)
		held = conn
		return conn, err
	}
	db := OpenDB(c, 1)
	defer db.Close()
	bounded, cancel := context.WithTimeout(ctx, orDefault(c.DialTimeout, time.Second))
	defer cancel()
	conn, err := db.Conn(bounded)
	if err != nil {
		return fmt.Errorf("hold a connection: %w", err)
	}
	defer conn.Close()
	// The most the server allows; without it, it hangs up after eight hours.
	if _, err := conn.ExecContext(bounded, "SET SESSION wait_timeout = 31536000"); err != nil {
		return fmt.Errorf("hold a connection: %w", err)
	}
	version, err := ServerVersion(bounded, conn)
	if err != nil {
		return fmt.Errorf("hold a connection: %w", err)
	}
	_, startID, err := Identity(bounded, conn, version)
	if err != nil {
		return fmt.Errorf("hold a connection: %w", err)
	}
	raw, ok := held.(syscall.Conn)
	if !ok {
		return fmt.Errorf("hold a connection: %T has no file descriptor", held)
	}
	fd, err := duplicate(raw)
	if err != nil {
		return fmt.Errorf("hold a connection: %w", err)
	}
	defer unix.Close(fd)
	if w.startID != startID {
		// It was back before anybody was refused.
		w.set(ctx, Process{Known: true}, "another process answers")
		w.startID = startID
	}
	w.set(ctx, Process{Known: true, Alive: true}, "answers")
	// The server has nothing to say on an idle connection but goodbye.
	dropped, err := waitFD(ctx, fd, unix.POLLIN|unix.POLLRDHUP)
	if err != nil {
		return fmt.Errorf("hold a connection: %w", err)
	}
	if dropped {
		if probe, err := w.conn.dial(ctx); err != nil {
			return fmt.Errorf("connection dropped: %w", err)
		} else {
			probe.Close()
		}
	}
	return nil
}

// duplicate returns a descriptor of its own for the connection.
func duplicate(c syscall.Conn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, err
	}
	return fd, dupErr
}

// waitFD waits until fd has one of the events, or is in error, or ctx ends, and
// reports whether it was fd.
func waitFD(ctx context.Context, fd int, events int16) (bool, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return false, fmt.Errorf("eventfd: %w", err)
	}
	defer unix.Close(wake)
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		// Eight bytes into a new eventfd cannot fail or block (eventfd(2)).
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 1})
	})
	defer func() {
		if !stop() {
			<-woken // it must not write to a descriptor that is closed and reused
		}
	}()
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("poll: %w", err)
		case fds[0].Revents != 0:
			return true, nil
		case fds[1].Revents != 0:
			return false, nil
		}
	}
}

// ServerPid returns the id of the process that listens on the server's unix
// socket. The error wraps [ErrNoPid] where there is a server and its id cannot
// be told: the address is TCP, the process is in another PID namespace, or
// somebody else (systemd) opened the socket on its behalf.
func ServerPid(ctx context.Context, c ConnConfig) (int, error) {
	if c.network() != "unix" {
		// A bare connection to TCP would count towards max_connect_errors.
		return 0, fmt.Errorf("%w: %s is not a unix socket", ErrNoPid, c.Address)
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	raw, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%w: %T has no peer credentials", ErrNoPid, conn)
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("ask for peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := control.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("ask for peer credentials: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("ask for peer credentials: %w", credErr)
	}
	if cred.Pid <= 0 {
		return 0, fmt.Errorf("%w: the server is in another PID namespace", ErrNoPid)
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(cred.Pid)), "comm"))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoPid, err)
	}
	if !isServer(strings.TrimSpace(string(name))) {
		return 0, fmt.Errorf("%w: the socket belongs to %q, process %d", ErrNoPid, strings.TrimSpace(string(name)), cred.Pid)
	}
	return int(cred.Pid), nil
}

// isServer reports whether a process of this name is a database server.
func isServer(comm string) bool {
	return strings.HasPrefix(comm, "mysqld") || strings.HasPrefix(comm, "mariadbd")
}
