// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"highwater/configs"
	"highwater/supervisor/control"
	"highwater/test/lab"
)

// fullPipe is a pipe whose next write waits until somebody reads.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	fds := make([]int, 2)
	if err := unix.Pipe2(fds, unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	filling := make([]byte, 4096)
	for {
		if _, err := unix.Write(fds[1], filling); errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

// drained reads the filling of a full pipe away, and returns what comes then.
func drained(t *testing.T, r io.Reader) *bufio.Reader {
	t.Helper()
	b := bufio.NewReader(r)
	for {
		c, err := b.ReadByte()
		if err != nil {
			t.Fatal(err)
		}
		if c != 0 {
			if err := b.UnreadByte(); err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
}

func plainNotice(lines uint64) []byte { return fmt.Appendf(nil, "missing %d\n", lines) }

// A reader that hangs holds up nobody who logs. When it reads again it gets what was kept, how
// many lines are missing at the place where they are, and what is logged from then on.
func TestLogWriterReaderHangs(t *testing.T) {
	const lines = 1000
	r, pipe := fullPipe(t)
	w := newLogWriter(pipe, 100*len("line 000\n"), plainNotice)
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for n := i; n < lines; n += 4 {
				if _, err := fmt.Fprintf(w, "line %03d\n", n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait() // it would never end
	dropped := w.dropped.Load()
	if dropped != lines-100 {
		t.Errorf("%d lines dropped, want all but the 100 that there is room for", dropped)
	}
	b := drained(t, r)
	var got []string
	for range 101 {
		line, err := b.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	if want := fmt.Sprintf("missing %d\n", dropped); got[100] != want {
		t.Errorf("after the lines that were kept comes %q, want %q", got[100], want)
	}
	if _, err := io.WriteString(w, "again\n"); err != nil {
		t.Error(err)
	}
	if line, err := b.ReadString('\n'); err != nil || line != "again\n" {
		t.Errorf("then comes %q, %v", line, err)
	}
	w.close(10 * time.Second)
	if w.dropped.Load() != dropped {
		t.Errorf("%d lines dropped in the end, %d before", w.dropped.Load(), dropped)
	}
}

// gate lets one write through at a time.
type gate struct {
	open chan struct{}
	got  []string // by the writer's goroutine; read it after close
}

func (g *gate) Write(b []byte) (int, error) {
	<-g.open
	g.got = append(g.got, string(b))
	return len(b), nil
}

// The notice stands where lines are missing, and a reader that is only slow gets no notice for
// each line that it reads.
func TestLogWriterReaderIsSlow(t *testing.T) {
	out := &gate{open: make(chan struct{})}
	w := newLogWriter(out, 40, plainNotice)
	log := func(name string) { fmt.Fprintf(w, "line %4s\n", name) } // 10 bytes
	read := func(left int) {
		t.Helper()
		out.open <- struct{}{}
		await(t, fmt.Sprintf("%d bytes are left", left), func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.queued == left
		})
	}
	for _, name := range []string{"a", "b", "c", "d", "lost", "lost"} {
		log(name)
	}
	read(30)
	log("lost") // there is room for it, and not enough to begin again
	read(20)
	log("e")
	close(out.open)
	w.close(10 * time.Second)
	want := "line    a\nline    b\nline    c\nline    d\nmissing 3\nline    e\n"
	if got := strings.Join(out.got, ""); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// refusing fails every write until it is told otherwise.
type refusing struct {
	mu      sync.Mutex
	accepts bool
	got     strings.Builder
	tried   chan struct{}
}

func (r *refusing) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.tried <- struct{}{} }()
	if !r.accepts {
		return 0, errors.New("no")
	}
	return r.got.Write(b)
}

// Lines that fail to be written are counted too, and the next one that works says so.
func TestLogWriterWriteFails(t *testing.T) {
	out := &refusing{tried: make(chan struct{}, 100)}
	w := newLogWriter(out, 1<<10, plainNotice)
	fmt.Fprintln(w, "one")
	<-out.tried
	fmt.Fprintln(w, "two")
	<-out.tried // the notice
	<-out.tried
	out.mu.Lock()
	out.accepts = true
	out.mu.Unlock()
	fmt.Fprintln(w, "three")
	w.close(10 * time.Second)
	if got, want := out.got.String(), "missing 2\nthree\n"; got != want || w.dropped.Load() != 2 {
		t.Errorf("got %q and %d dropped, want %q", got, w.dropped.Load(), want)
	}
}

// The end writes what is left, and does not wait for a reader that hangs.
func TestLogWriterClose(t *testing.T) {
	var kept strings.Builder
	w := newLogWriter(&kept, logBacklog, plainNotice)
	for range 1000 {
		fmt.Fprintln(w, "a line")
	}
	w.close(10 * time.Second)
	if got := strings.Count(kept.String(), "a line\n"); got != 1000 {
		t.Errorf("%d lines written at the end, want 1000", got)
	}

	_, pipe := fullPipe(t)
	w = newLogWriter(pipe, logBacklog, plainNotice)
	fmt.Fprintln(w, "a line")
	began := time.Now()
	w.close(50 * time.Millisecond)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// The notice is a record like any other, whatever the level.
func TestLogNotice(t *testing.T) {
	for format, want := range map[string]string{
		"text": `level=WARN msg=log.dropped node=db1 lines=3`,
		"json": `"level":"WARN","msg":"log.dropped","node":"db1","lines":3`,
	} {
		log, out := newLogger(configs.Log{Level: "error", Format: format}, "db1", io.Discard)
		if got := string(out.notice(3)); !strings.Contains(got, want) || !strings.HasSuffix(got, "\n") {
			t.Errorf("%s: %q, want %q in it", format, got, want)
		}
		if log.Enabled(context.Background(), 4) {
			t.Errorf("%s: the logger takes warnings at level error", format)
		}
		out.close(time.Second)
	}
}

// metric asks a node for one of its metrics.
func metric(address, name string) (float64, error) {
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no %s", name)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// await polls until ok, or fails the test.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// A node whose log nobody reads goes on: it answers, its loop steps, and it ends when it is
// told to. The metric says how much was dropped, and so does the log once it is read.
func TestRunGoesOnWhenNobodyReadsTheLog(t *testing.T) {
	lab.Require(t, "root") // VRRP sockets
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path, state := configure(t, fmt.Sprintf("web: {listen: %q}", address))
	r, pipe := fullPipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, &env{stdin: strings.NewReader(""), stdout: io.Discard, stderr: pipe}, []string{"run", "--config", path})
	}()
	c := control.NewClient(state)
	await(t, "the node answers", func() bool {
		_, err := c.Status(ctx)
		return err == nil
	})
	dropped := 0.0
	for dropped == 0 { // every order is a few lines of log
		for range 100 {
			bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
			result, err := c.Do(bounded, control.Command{Name: "failover"}, nil)
			cancel()
			if err != nil || result.Code != exitRefused {
				t.Fatalf("an order is answered with %+v, %v", result, err)
			}
		}
		if dropped, err = metric(address, "highwater_log_dropped_total"); err != nil {
			t.Fatal(err)
		}
	}
	if age, err := metric(address, "highwater_loop_age_seconds"); err != nil || age > 5 {
		t.Errorf("the loop's last step is %v s old, %v", age, err)
	}
	cancel()
	select {
	case c := <-code:
		if c != exitDone {
			t.Errorf("exit code %d", c)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	b := drained(t, r)
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			t.Fatalf("the log does not say that lines are missing: %v", err)
		}
		if strings.Contains(line, "msg=log.dropped") {
			break
		}
	}
}

// TestMain lets a test start this program as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("HIGHWATER_TEST_RUN") != "" {
		main() // exits
	}
	os.Exit(m.Run())
}

// The end of whoever reads the log is not the node's: not even of its standard error, for which
// Go's default is to die of SIGPIPE.
func TestRunOutlivesTheReaderOfItsLog(t *testing.T) {
	lab.Require(t, "root") // VRRP sockets
	path, state := configure(t, "web: {listen: none}")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "run", "--config", path)
	cmd.Env = append(os.Environ(), "HIGHWATER_TEST_RUN=1")
	cmd.Stderr = w
	if err := errors.Join(cmd.Start(), w.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c := control.NewClient(state)
	await(t, "the node answers", func() bool {
		_, err := c.Status(t.Context())
		return err == nil
	})
	for range 3 { // each is logged
		if result, err := c.Do(t.Context(), control.Command{Name: "failover"}, nil); err != nil || result.Code != exitRefused {
			t.Fatalf("an order is answered with %+v, %v", result, err)
		}
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
}
