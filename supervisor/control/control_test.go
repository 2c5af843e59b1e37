// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

type fakeHandler struct {
	command func(ctx context.Context, c Command, progress func(Event)) Result

	mu     sync.Mutex
	caller Caller
}

func (*fakeHandler) Status() any { return map[string]any{"summary": "Healthy"} }

func (h *fakeHandler) Command(ctx context.Context, from Caller, c Command, progress func(Event)) Result {
	h.mu.Lock()
	h.caller = from
	h.mu.Unlock()
	return h.command(ctx, c, progress)
}

// start runs a server on dir until the test ends or stop is called.
func start(t *testing.T, dir string, h Handler) (stop func()) {
	t.Helper()
	s, err := Listen(Config{Dir: dir, Group: os.Getgid()}, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server ended: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, &fakeHandler{})
	text, err := NewClient(dir).Status(t.Context())
	if err != nil || strings.TrimSpace(string(text)) != `{"summary":"Healthy"}` {
		t.Errorf("status = %s, %v", text, err)
	}
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	shown := make(chan struct{})
	h := &fakeHandler{command: func(_ context.Context, c Command, progress func(Event)) Result {
		progress(Event{Text: "sealing " + c.Args["to"], Data: json.RawMessage(`{"door":4}`)})
		<-shown // the event is there before the command has ended
		progress(Event{Text: "promoting", At: time.Unix(1, 0)})
		return Result{Code: CodeRefused, Text: "db3 is ahead", Data: json.RawMessage(`["db3"]`)}
	}}
	start(t, dir, h)
	var events []Event
	result, err := NewClient(dir).Do(t.Context(), Command{Name: "failover", Args: map[string]string{"to": "db2"}}, func(e Event) {
		events = append(events, e)
		if len(events) == 1 {
			close(shown)
		}
	})
	if err != nil || result.Code != CodeRefused || result.Text != "db3 is ahead" || string(result.Data) != `["db3"]` {
		t.Errorf("result = %+v, %v", result, err)
	}
	if len(events) != 2 || events[0].Text != "sealing db2" || events[0].At.IsZero() || string(events[0].Data) != `{"door":4}` || !events[1].At.Equal(time.Unix(1, 0)) {
		t.Errorf("events = %+v", events)
	}
	if h.caller.PID != int32(os.Getpid()) || h.caller.UID != uint32(os.Getuid()) {
		t.Errorf("caller = %+v", h.caller)
	}
}

func TestCallerGoesAway(t *testing.T) {
	dir := t.TempDir()
	began, ended := make(chan struct{}), make(chan struct{})
	start(t, dir, &fakeHandler{command: func(ctx context.Context, _ Command, progress func(Event)) Result {
		close(began)
		<-ctx.Done()
		progress(Event{Text: "nobody hears that"})
		close(ended)
		return Result{}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := NewClient(dir).Do(ctx, Command{Name: "stop"}, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
	<-ended
}

func TestSupervisorGoesAway(t *testing.T) {
	dir := t.TempDir()
	began := make(chan struct{})
	release := make(chan struct{})
	stop := start(t, dir, &fakeHandler{command: func(context.Context, Command, func(Event)) Result {
		close(began)
		<-release // longer than the grace at the end
		return Result{}
	}})
	defer close(release)
	go func() {
		<-began
		stop()
	}()
	if _, err := NewClient(dir).Do(t.Context(), Command{Name: "stop"}, nil); !errors.Is(err, ErrInterrupted) {
		t.Errorf("error = %v", err)
	}
	if _, err := NewClient(dir).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestCommandsAreBounded(t *testing.T) {
	dir := t.TempDir()
	began := make(chan struct{}, maxCommands)
	release := make(chan struct{})
	start(t, dir, &fakeHandler{command: func(context.Context, Command, func(Event)) Result {
		began <- struct{}{}
		<-release
		return Result{}
	}})
	c := NewClient(dir)
	results := make(chan error, maxCommands)
	for range maxCommands {
		go func() {
			_, err := c.Do(t.Context(), Command{Name: "stop"}, nil)
			results <- err
		}()
	}
	for range maxCommands {
		<-began
	}
	if _, err := c.Do(t.Context(), Command{Name: "stop"}, nil); err == nil || !strings.Contains(err.Error(), "4 commands are under way") {
		t.Errorf("error = %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("status beside commands: %v", err)
	}
	close(release)
	for range maxCommands {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	dir := t.TempDir()
	stop := start(t, dir, &fakeHandler{})
	var idle []net.Conn
	for range maxConnections {
		c, err := net.Dial("unix", filepath.Join(dir, socketName))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := NewClient(dir).Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the bound: %v", err)
	}
	idle[0].Close()
	idle[1].Close() // the one given up above may still hold a place in the queue
	if _, err := NewClient(dir).Status(t.Context()); err != nil {
		t.Errorf("when there is a place again: %v", err)
	}
	stop() // ends although connections are idle and all places may be taken
}

func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, &fakeHandler{command: func(context.Context, Command, func(Event)) Result {
		t.Error("a bad request was carried out")
		return Result{}
	}})
	for name, tc := range map[string]struct{ request, want string }{
		"no JSON":       {"POST /v1/command HTTP/1.0\r\nContent-Length: 4\r\n\r\nstop", "400 "},
		"no name":       {"POST /v1/command HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", "400 "},
		"unknown field": {"POST /v1/command HTTP/1.0\r\nContent-Length: 29\r\n\r\n{\"name\":\"stop\",\"force\":\"yes\"}", "400 "},
		"two commands":  {"POST /v1/command HTTP/1.0\r\nContent-Length: 30\r\n\r\n{\"name\":\"stop\"}{\"name\":\"stop\"}", "400 "},
		"too long": {
			fmt.Sprintf("POST /v1/command HTTP/1.0\r\nContent-Length: %d\r\n\r\n{\"name\":\"%s\"}", maxRequest+11, strings.Repeat("x", maxRequest)), "400 ",
		},
		"GET":     {"GET /v1/command HTTP/1.0\r\n\r\n", "405 "},
		"unknown": {"GET /v1/secret HTTP/1.0\r\n\r\n", "404 "},
	} {
		c, err := net.Dial("unix", filepath.Join(dir, socketName))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, tc.request)
		reply, err := io.ReadAll(c)
		c.Close()
		if err != nil || !strings.HasPrefix(string(reply), "HTTP/1.0 "+tc.want) {
			t.Errorf("%s: %q, %v", name, reply, err)
		}
	}
}

func TestOneSupervisorPerDirectory(t *testing.T) {
	dir := t.TempDir()
	stop := start(t, dir, &fakeHandler{})
	_, err := Listen(Config{Dir: dir, Group: -1}, &fakeHandler{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("%s: another supervisor uses this state directory (process %d)", dir, os.Getpid())) {
		t.Errorf("error = %v", err)
	}
	if _, err := NewClient(dir).Status(t.Context()); err != nil {
		t.Errorf("the first one is disturbed: %v", err)
	}
	stop()
	start(t, dir, &fakeHandler{})
}

// TestHolder is no test but the process that TestKilledSupervisor kills.
func TestHolder(t *testing.T) {
	dir := os.Getenv("HIGHWATER_TEST_HOLD")
	if dir == "" {
		t.Skip("run by TestKilledSupervisor only")
	}
	start(t, dir, &fakeHandler{})
	fmt.Println("holding")
	select {}
}

// A killed supervisor leaves its socket and its lock file behind; neither is in the way.
func TestKilledSupervisor(t *testing.T) {
	dir := t.TempDir()
	holder := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHolder$", "-test.v")
	holder.Env = append(os.Environ(), "HIGHWATER_TEST_HOLD="+dir)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	seen := ""
	for buf := make([]byte, 256); !strings.Contains(seen, "holding"); {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("holder ended: %v: %s", err, seen)
		}
		seen += string(buf[:n])
	}
	if _, err := Listen(Config{Dir: dir, Group: -1}, &fakeHandler{}); !errors.Is(err, ErrLocked) {
		t.Errorf("beside a living one: %v", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // killed
	if _, err := NewClient(dir).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("beside a dead one: %v", err)
	}
	start(t, dir, &fakeHandler{})
	if _, err := NewClient(dir).Status(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	if _, err := Listen(Config{Dir: filepath.Join(t.TempDir(), "absent")}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent directory: %v", err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second would meet the lock if the first kept it
		if _, err := Listen(Config{Dir: long}, nil); err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("long path: %v", err)
		}
	}
}
