// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Host is a machine of the lab: network, PID, mount and UTS namespaces, with the file system of the real machine
// but for /proc, /sys and /run. Its processes see its own Dir at the same path as the test does.
//
// Methods that begin a fault and those that end it are not for concurrent use on one host.
type Host struct {
	lab     *Lab
	name    string
	number  int
	address netip.Addr
	hasDisk bool
	// Server is the host's database server; nil on witnesses and the client.
	Server *Server

	mu    sync.Mutex
	init  *Process // nil while the power is off
	place *place   // shared with Server
	group string   // path of the cgroup, or ""
}

// boot is what a host's first process does before it becomes an init that does nothing: ignoring SIGCHLD makes the
// kernel reap every orphan.
const boot = `
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount --bind "$1/run" /run
hostname "$2"
trap '' CHLD
echo ready
exec sleep infinity
`

// newHost makes a host and boots it; disk is the size of its own disk, 0 for none.
func (l *Lab) newHost(name string, number int, disk int64) (*Host, error) {
	address := Subnet.Addr().As4()
	address[3] = byte(number)
	h := &Host{lab: l, name: name, number: number, address: netip.AddrFrom4(address), place: &place{ownPIDs: true}}
	if err := os.MkdirAll(h.Dir(), 0o755); err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	if disk > 0 {
		h.hasDisk = true
		if err := h.makeDisk(disk); err != nil {
			return nil, err
		}
	}
	if l.janitor.groups != "" {
		h.group = l.janitor.groups + "-" + name
	}
	if err := h.boot(); err != nil {
		return nil, errors.Join(fmt.Errorf("boot host %s: %w", name, err), h.close())
	}
	return h, nil
}

// boot makes the namespaces and plugs the host in.
func (h *Host) boot() (err error) {
	// As after a reboot, /run is empty.
	run := filepath.Join(h.Dir(), "run")
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(run, "mysqld"), 0o755); err != nil {
		return err
	}
	if h.group != "" {
		if h.place.cgroup, err = makeCgroup(h.group); err != nil {
			return err
		}
	}
	cmd := exec.Command("/bin/sh", "-c", boot, "sh", h.Dir(), h.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
	}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	h.init, err = startProcess(place{cgroup: h.place.cgroup}, cmd)
	w.Close()
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if line != "ready\n" {
		return fmt.Errorf("its init said %q: %w", line, err)
	}
	if h.place.namespaces, err = namespacesOf(h.init.Pid(), "pid", "uts", "net", "mnt"); err != nil {
		return err
	}
	return h.plugIn()
}

// Name is db1, w1, client, ...; it is the hostname inside, and the name of the switch's port.
func (h *Host) Name() string { return h.name }

// String is the name.
func (h *Host) String() string { return h.name }

// Address is the host's IPv4 address, Address6 the IPv6 one.
func (h *Host) Address() netip.Addr { return h.address }

// Address6 is the host's IPv6 address; it looks like the last part of the IPv4 one.
func (h *Host) Address6() netip.Addr {
	return netip.MustParseAddr("fd77::" + strconv.Itoa(h.number))
}

// Dir is a directory for the host's files that survives PowerOff. Dir/run is the host's /run, which does not.
func (h *Host) Dir() string { return h.lab.hostDir(h.name) }

// On reports whether the power is on.
func (h *Host) On() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.init != nil
}

// Pid is the id of the host's init, or 0 while it is off. "nsenter -a -t PID" is a shell on the host.
func (h *Host) Pid() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return 0
	}
	return h.init.Pid()
}

// ErrOff is returned by operations that need a host that is switched on.
var ErrOff = errors.New("the host is off")

// at is where the host's processes run.
func (h *Host) at() (place, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return place{}, fmt.Errorf("%s: %w", h.name, ErrOff)
	}
	return *h.place, nil
}

// Start starts a program on the host: a supervisor, keepalived. The process ends with the host or the test.
func (h *Host) Start(cmd *exec.Cmd) (*Process, error) {
	at, err := h.at()
	if err != nil {
		return nil, err
	}
	return startProcess(at, cmd)
}

// Run runs a command on the host and returns what it printed.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	cmd, err := systemCommand(ctx, argv[0], argv[1:]...)
	if err != nil {
		return "", err
	}
	at, err := h.at()
	if err != nil {
		return "", err
	}
	out, err := os.CreateTemp(h.Dir(), ".out-")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	p, err := startProcess(at, cmd)
	if err != nil {
		return "", err
	}
	<-p.Done()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return "", err
	}
	if p.err != nil {
		return string(text), fmt.Errorf("run %q on %s: %w: %s", argv, h.name, p.err, lastLines(string(text), 5))
	}
	return string(text), nil
}

// Inside runs fn on a thread in the host's namespaces. The sockets and files that fn opens stay there; goroutines
// that it starts do not run there.
func (h *Host) Inside(fn func() error) error {
	at, err := h.at()
	if err != nil {
		return err
	}
	return inside(at.namespaces, fn)
}

// Dial connects from the host. The address must be numeric: a name would be looked up elsewhere.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.Inside(func() (err error) {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// startServer starts the host's server for the first time.
func (h *Host) startServer(ctx context.Context) error {
	c := ServerConfig{
		Flavor:     h.lab.config.Flavor,
		Dir:        filepath.Join(h.Dir(), "mysql"),
		Address:    h.address.String(),
		Bind:       "*", // the VIP comes later
		Port:       MySQLPort,
		AdminPort:  AdminPort,
		ServerID:   uint32(h.number),
		SocketPath: filepath.Join(h.Dir(), "run/mysqld/mysqld.sock"),
		ReadOnly:   true,
		Extra:      append([]string{"report_host=" + h.address.String()}, h.lab.config.ServerOptions...),
		place:      h.place,
	}
	if h.hasDisk {
		c.DataDir = filepath.Join(h.diskDir(), "data")
	}
	server, err := StartServer(ctx, c)
	if err != nil {
		return fmt.Errorf("on %s: %w", h.name, err)
	}
	h.Server = server
	return nil
}

// close powers off, if need be, for good.
func (h *Host) close() error {
	var err error
	if h.On() {
		err = h.PowerOff()
	}
	if h.Server != nil {
		h.Server.Close()
	}
	return err
}
