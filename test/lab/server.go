// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// ServerConfig says which server to start, and how. Only Flavor and Dir are needed.
type ServerConfig struct {
	Flavor Flavor
	// Dir is the server's directory: data/ below it is made when it is absent and used as it is otherwise. The
	// error log is Dir/error.log, the option file Dir/my.cnf. It must be absolute.
	Dir string
	// DataDir is Dir/data by default.
	DataDir string
	// Address and Port are where the server listens for TCP: 127.0.0.1 and a free port by default.
	Address string
	Port    int
	// Bind is the server's bind_address, by default Address.
	Bind string
	// AdminPort is the port of the administrative interface (MariaDB: extra_port); 0 means none.
	AdminPort int
	// ServerID is the port number by default.
	ServerID uint32
	// SocketPath is Dir/mysqld.sock by default, or a short path elsewhere when that is longer than a socket's name
	// may be (unix(7): 107 bytes).
	SocketPath string
	// Extra are lines for the option file; they come last and win.
	Extra []string
	// Netns is a network namespace, by name or path, to run the server in. The socket is reachable from outside.
	Netns string
	// ReadOnly boots the server as production must: super_read_only=ON, on MariaDB read_only=ON.
	ReadOnly bool
	// SemiSyncSource and SemiSyncReplica turn that half of semi-synchronous replication on at boot. The plugins are
	// always loaded, with AFTER_SYNC, no timeout and wait-without-replica: a source that is on blocks every commit
	// until a replica acknowledges.
	SemiSyncSource, SemiSyncReplica bool

	place *place
}

// place is where a process runs: nil namespaces are the caller's, and so is a nil cgroup.
type place struct {
	namespaces *namespaces
	cgroup     *os.File
	ownPIDs    bool // the namespaces include a PID namespace
}

// mysqldRestart is the exit code by which mysqld asks to be started again (SQL RESTART, the end of CLONE).
const mysqldRestart = 16

// A Server is one running, stopped or killed database server with a data directory of its own. Its methods may be
// called from several goroutines; a start and an end must not be called at once.
type Server struct {
	config    ServerConfig
	program   string
	socketDir string // to be removed at Close, or empty
	db        *sql.DB

	mu      sync.Mutex
	process *Process
	wanted  bool // false once its end was asked for
}

// StartServer makes the data directory when it is absent, starts the server and waits until it answers on its
// socket. The server ends with Close, or with the calling process.
func StartServer(ctx context.Context, c ServerConfig) (*Server, error) {
	flavor, known := flavors[c.Flavor]
	if !known {
		return nil, fmt.Errorf("start server: unknown flavour %q", c.Flavor)
	}
	program, err := Program(flavor.program)
	if err != nil {
		return nil, fmt.Errorf("start %s server: %w", c.Flavor, err)
	}
	s := &Server{program: program}
	if c.Dir == "" || !filepath.IsAbs(c.Dir) {
		return nil, fmt.Errorf("start %s server: directory %q is not absolute", c.Flavor, c.Dir)
	}
	if c.DataDir == "" {
		c.DataDir = filepath.Join(c.Dir, "data")
	}
	if c.Address == "" {
		c.Address = "127.0.0.1"
	}
	if c.Bind == "" {
		c.Bind = c.Address
	}
	if c.Netns != "" {
		ns, err := networkNamespace(c.Netns)
		if err != nil {
			return nil, err
		}
		c.place = &place{namespaces: ns}
	}
	if c.place == nil {
		c.place = &place{}
	}
	if c.Port == 0 {
		if c.Port, err = freePort(c.place.namespaces, c.Address); err != nil {
			return nil, err
		}
	}
	if c.ServerID == 0 {
		c.ServerID = uint32(c.Port)
	}
	if c.SocketPath == "" {
		c.SocketPath = filepath.Join(c.Dir, "mysqld.sock")
		if len(c.SocketPath) > 100 {
			if s.socketDir, err = os.MkdirTemp("", "lab-"); err != nil {
				return nil, fmt.Errorf("make a directory for the socket: %w", err)
			}
			c.SocketPath = filepath.Join(s.socketDir, "mysqld.sock")
		}
	}
	if len(c.SocketPath) > 107 {
		return nil, fmt.Errorf("start %s server: the socket's path is longer than 107 bytes (unix(7)): %s", c.Flavor, c.SocketPath)
	}
	s.config = c
	if err := s.prepare(ctx); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare writes the option file and the data directory.
func (s *Server) prepare(ctx context.Context) error {
	c := s.config
	// A directory of its own for temporary tables: MariaDB names their files after the process
	// and connection ids, which are the same on every host, and dies of a file that is not its own.
	tmp := filepath.Join(c.Dir, "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return fmt.Errorf("make the server's directory: %w", err)
	}
	if entries, err := os.ReadDir(c.DataDir); err != nil || len(entries) == 0 {
		if err := makeDataDir(ctx, c.Flavor, c.DataDir); err != nil {
			return err
		}
	}
	options, err := c.Flavor.baseOptions()
	if err != nil {
		return err
	}
	options = append(options,
		"datadir="+c.DataDir,
		"socket="+c.SocketPath,
		"pid_file="+filepath.Join(c.Dir, "mysqld.pid"),
		"tmpdir="+tmp,
		"log_error="+s.LogPath(),
	)
	if err := writeOptionFile(filepath.Join(c.Dir, "my.cnf"), append(options, serverOptions(c)...)); err != nil {
		return err
	}
	config := mysql.NewConfig()
	config.Net, config.Addr = "unix", c.SocketPath
	config.User, config.DBName = "root", ""
	config.Timeout = time.Second
	config.Logger = &mysql.NopLogger{} // a server that is not up yet is no news
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return fmt.Errorf("open the server's socket: %w", err)
	}
	s.db = sql.OpenDB(connector)
	s.db.SetConnMaxIdleTime(time.Second)
	return nil
}

// Start starts a server that has ended and waits until it answers.
func (s *Server) Start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	if err := s.WaitReady(ctx); err != nil {
		s.Kill()
		return err
	}
	return nil
}

// launch starts the server process.
func (s *Server) launch() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil && s.process.Alive() {
		return errors.New("start server: it is running")
	}
	if s.config.place.ownPIDs && s.config.place.namespaces == nil {
		return fmt.Errorf("start server: %w", ErrOff)
	}
	cmd := exec.Command(s.program, "--defaults-file="+filepath.Join(s.config.Dir, "my.cnf"))
	cmd.Dir = "/"
	// mysqld allows RESTART, and restarts after CLONE, only if it knows that its parent watches it. A parent outside
	// of its PID namespace has the number 0 (pid_namespaces(7)).
	parent := os.Getpid()
	if s.config.place.ownPIDs {
		parent = 0
	}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "MYSQLD_PARENT_PID=" + strconv.Itoa(parent)}
	process, err := startProcess(*s.config.place, cmd)
	if err != nil {
		return err
	}
	s.process, s.wanted = process, true
	go s.watch(process)
	return nil
}

// watch starts the server again when it has asked for that.
func (s *Server) watch(p *Process) {
	<-p.Done()
	s.mu.Lock()
	again := s.wanted && s.process == p && p.exitCode() == mysqldRestart
	s.mu.Unlock()
	if again {
		// An error shows as a server that does not come back.
		_ = s.launch()
	}
}

// WaitReady waits until the server answers on its socket.
func (s *Server) WaitReady(ctx context.Context) error {
	process := s.current()
	for {
		err := s.db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-process.Done():
			ended := process
			if process = s.current(); process.Alive() {
				continue
			}
			if ended.exitCode() == mysqldRestart {
				break // watch is about to start it
			}
			log, _ := os.ReadFile(s.LogPath())
			return fmt.Errorf("start %s server: it ended: %w; its log ends:\n%s", s.config.Flavor, process.err, lastLines(string(log), 15))
		case <-ctx.Done():
			return fmt.Errorf("wait for %s server: %w (last: %w)", s.config.Flavor, ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
			continue
		}
		pause(ctx, 10*time.Millisecond)
	}
}

func (s *Server) current() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Config is the configuration with all defaults filled in.
func (s *Server) Config() ServerConfig { return s.config }

// DB is a pool of root connections over the socket; it works from any network namespace.
func (s *Server) DB() *sql.DB { return s.db }

// DSN names the server for go-sql-driver: root over the socket.
func (s *Server) DSN() string { return "root@unix(" + s.config.SocketPath + ")/" }

// TCPDSN names the server for go-sql-driver: an account with all privileges, over TCP.
func (s *Server) TCPDSN() string { return "lab:lab@tcp(" + s.Addr() + ")/" }

// Socket is the path of the unix socket.
func (s *Server) Socket() string { return s.config.SocketPath }

// Addr is the server's address and port.
func (s *Server) Addr() string {
	return net.JoinHostPort(s.config.Address, strconv.Itoa(s.config.Port))
}

// LogPath is the error log.
func (s *Server) LogPath() string { return filepath.Join(s.config.Dir, "error.log") }

// Pid is the id of the server process, the last one if it has ended.
func (s *Server) Pid() int { return s.current().Pid() }

// Alive reports whether the server process exists, stopped or not.
func (s *Server) Alive() bool { return s.current().Alive() }

// Done is closed when the present server process has ended.
func (s *Server) Done() <-chan struct{} { return s.current().Done() }

// Exec runs statements as root over the socket, one after the other, on one connection.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.config.SocketPath, err)
	}
	defer conn.Close()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("run %q: %w", statement, err)
		}
	}
	return nil
}

// QueryString returns the first column of the first row as text; NULL is "".
func (s *Server) QueryString(ctx context.Context, query string, args ...any) (string, error) {
	var v sql.NullString
	if err := s.db.QueryRowContext(ctx, query, args...).Scan(&v); err != nil {
		return "", fmt.Errorf("run %q: %w", query, err)
	}
	return v.String, nil
}

// ExecutedGTIDs is what the server has committed: gtid_executed, on MariaDB gtid_current_pos.
func (s *Server) ExecutedGTIDs(ctx context.Context) (string, error) {
	if s.config.Flavor.IsMariaDB() {
		return s.QueryString(ctx, "SELECT @@global.gtid_current_pos")
	}
	return s.QueryString(ctx, "SELECT @@global.gtid_executed")
}

// Kill ends the server with SIGKILL, as the kernel's out-of-memory killer would, and waits until it is gone.
func (s *Server) Kill() {
	s.unwant()
	s.current().Kill()
}

// Stop freezes the server process (SIGSTOP): connections stay, nothing answers. Cont undoes it.
func (s *Server) Stop() error { return s.current().Stop() }

// Cont undoes Stop.
func (s *Server) Cont() error { return s.current().Cont() }

// Shutdown ends the server with SIGTERM and waits until it is gone. Clients that wait for a semi-sync acknowledgement
// are told that their commit succeeded.
func (s *Server) Shutdown(ctx context.Context) error {
	s.unwant()
	p := s.current()
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end server: %w", err)
	}
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end server: %w", ctx.Err())
	}
}

// Restart ends the server in good order, if it runs, and starts it again on the same data.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Shutdown(ctx); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Close kills the server and frees what it holds; its directory is left.
func (s *Server) Close() {
	if s.current() != nil {
		s.Kill()
	}
	if s.db != nil {
		s.db.Close()
	}
	if s.config.Netns != "" {
		s.config.place.namespaces.close()
	}
	if s.socketDir != "" {
		os.RemoveAll(s.socketDir)
	}
}

// unwant keeps watch from starting the server again.
func (s *Server) unwant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = false
}

// freePort finds a port that nobody listens on.
func freePort(ns *namespaces, address string) (int, error) {
	var port int
	err := inside(ns, func() error {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		return l.Close()
	})
	return port, err
}
