// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxConnections = 32
	maxCommands    = 4        // under way at once; further ones are refused, not queued
	maxRequest     = 64 << 10 // bytes of a command
	shutdownGrace  = time.Second
)

// Handler is the supervisor behind the socket. Its methods may run concurrently.
type Handler interface {
	// Status returns the status document.
	Status() any
	// Command carries out an order. It may report progress until it returns. Ctx ends when the caller has gone or the server ends;
	// whether that stops the order is the handler's decision.
	Command(ctx context.Context, from Caller, c Command, progress func(Event)) Result
}

// Config is what a [Server] needs.
type Config struct {
	Dir   string // state directory, must exist
	Group int    // group that may give orders, -1 to leave it to the directory and the process
	Log   *slog.Logger
}

// Server holds the state directory and answers on its socket.
type Server struct {
	handler  Handler
	log      *slog.Logger
	lock     *os.File
	listener net.Listener
	http     *http.Server
	commands chan struct{} // a place for each command under way
}

// Listen takes the state directory and binds the socket; [Server.Run] serves. It returns an error that wraps [ErrLocked] if another
// process has the directory.
func Listen(cfg Config, h Handler) (s *Server, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	held, err := lock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			held.Close()
		}
	}()
	path := filepath.Join(cfg.Dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove dead control socket: %w", err)
	}
	l, err := bind(path, cfg.Group)
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	s = &Server{
		handler: h, log: cfg.Log, lock: held,
		listener: &listener{Listener: l, places: make(chan struct{}, maxConnections), closed: make(chan struct{})},
		commands: make(chan struct{}, maxCommands),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.serveStatus)
	mux.HandleFunc("POST /v1/command", s.serveCommand)
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		ConnContext:       withCaller,
	}
	return s, nil
}

// bind makes the socket with its final mode, so that there is no moment in which others could connect.
func bind(path string, group int) (net.Listener, error) {
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, fmt.Errorf("path %s is too long for a socket (unix(7)): %d bytes", path, len(path))
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if group >= 0 {
		err = os.Chown(path, -1, group)
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Run serves until ctx is done; commands under way then get a second to end.
func (s *Server) Run(ctx context.Context) error {
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-drained // Serve returns when Shutdown begins
		return nil
	}
	return fmt.Errorf("serve control socket: %w", err)
}

// Close removes the socket and gives the state directory free.
func (s *Server) Close() error {
	err := errors.Join(s.http.Close(), s.listener.Close())
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.lock.Close())
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	body, err := json.Marshal(s.handler.Status())
	if err != nil {
		s.log.Error("encode status", "error", err)
		http.Error(w, "encode status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // a client that has gone sees to itself
}

func (s *Server) serveCommand(w http.ResponseWriter, r *http.Request) {
	caller, ok := r.Context().Value(callerKey{}).(Caller)
	if !ok {
		http.Error(w, "caller is unknown to the kernel", http.StatusForbidden)
		return
	}
	var c Command
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("data after the command")
		}
	}
	if err == nil && c.Name == "" {
		err = errors.New("name is missing")
	}
	if err != nil {
		http.Error(w, "decode command: "+err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case s.commands <- struct{}{}:
		defer func() { <-s.commands }()
	default:
		http.Error(w, fmt.Sprintf("%d commands are under way already", maxCommands), http.StatusServiceUnavailable)
		return
	}
	s.log.Info("command", "command", c.Name, "args", c.Args, "uid", caller.UID, "pid", caller.PID)
	w.Header().Set("Content-Type", "application/jsonl")
	stream := &stream{w: w, flush: http.NewResponseController(w)}
	_ = stream.flush.Flush() // the caller knows that it has begun
	result := s.handler.Command(r.Context(), caller, c, func(e Event) {
		if e.At.IsZero() {
			e.At = time.Now()
		}
		stream.send(line{Event: &e})
	})
	s.log.Info("command ended", "command", c.Name, "code", result.Code, "text", result.Text)
	stream.end(line{Result: &result})
}

// stream sends lines as they come; progress may be reported from several goroutines.
type stream struct {
	mu    sync.Mutex
	w     io.Writer
	flush *http.ResponseController
	ended bool
}

func (s *stream) send(l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(l)
}

// end sends the last line; progress reported later is dropped.
func (s *stream) end(l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(l)
	s.ended = true
}

func (s *stream) write(l line) {
	if s.ended {
		return
	}
	text, err := json.Marshal(l)
	if err != nil { // data that is not JSON
		text, _ = json.Marshal(line{Result: &Result{Code: CodeFailed, Text: "encode reply: " + err.Error()}})
		s.ended = true
	}
	// A caller that reads no more must not hold up the command.
	_ = s.flush.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := s.w.Write(append(text, '\n')); err != nil {
		s.ended = true
		return
	}
	if err := s.flush.Flush(); err != nil {
		s.ended = true
	}
}
