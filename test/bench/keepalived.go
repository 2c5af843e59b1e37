// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"highwater/test/lab"
)

// timing is what the two configurations of keepalived differ in.
type timing struct {
	Version  int    // of VRRP
	Advert   string // seconds; VRRP 2 knows whole ones
	Interval int    // of the check script, in seconds: keepalived 2.2 knows whole ones
	Timeout  int    // of the check script
	Fall     int
}

var (
	// recommended is what good guides say: VRRP 2 and its default interval, two failed checks.
	recommended = timing{Version: 2, Advert: "1", Interval: 2, Timeout: 2, Fall: 2}
	// tuned is as fast as version 2.2.7 can be set without flapping when the machine is busy.
	tuned = timing{Version: 3, Advert: "0.1", Interval: 1, Timeout: 1, Fall: 1}
)

// keepalivedConfig avoids the known mistakes: every host starts as BACKUP, the role does not go back by itself, the
// script has no weight (a failed check gives the VIP away at once), runs a statement, and is bound by time.
const keepalivedConfig = `global_defs {
    router_id {{.Host}}
    vrrp_version {{.Version}}
    script_user root
}
vrrp_script mysql {
    script "{{.Dir}}/check"
    interval {{.Interval}}
    timeout {{.Timeout}}
    fall {{.Fall}}
    rise 1
}
vrrp_instance mysql {
    state BACKUP
    nopreempt
    interface {{.Interface}}
    virtual_router_id 51
    priority {{.Priority}}
    advert_int {{.Advert}}
    virtual_ipaddress {
        {{.VIP}}/32
    }
    track_script {
        mysql
    }
    notify_master "{{.Dir}}/promote"
    notify_backup "{{.Dir}}/demote"
    notify_fault "{{.Dir}}/demote"
}
`

var keepalivedTemplate = template.Must(template.New("keepalived.conf").Parse(keepalivedConfig))

// The scripts do what those in use do. Promotion leaves semi-synchronous replication as it is, off on what was
// a replica, and the sibling with its old source: with the source half on, nothing could be committed until somebody
// re-points it.
const (
	checkSQL   = "SELECT 1"
	promoteSQL = "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF"
	demoteSQL  = "SET GLOBAL super_read_only=ON"
)

// keepalived is keepalived with its scripts on three hosts.
type keepalived struct {
	*lab.Lab
	program string
	running map[string]*lab.Process
}

func newKeepalived(ctx context.Context, t timing) (testbed, error) {
	program, err := lab.Program("keepalived")
	if err != nil {
		return nil, err
	}
	client, err := lab.Program("mysql")
	if err != nil {
		return nil, err
	}
	l, err := lab.New(ctx, labConfig)
	if err != nil {
		return nil, err
	}
	b := &keepalived{Lab: l, program: program, running: map[string]*lab.Process{}}
	err = l.Bootstrap(ctx)
	for i, h := range l.Hosts() {
		if err != nil {
			break
		}
		err = b.configure(h, client, t, 120-10*i)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return b, nil
}

// configure writes a host's files.
func (b *keepalived) configure(h *lab.Host, client string, t timing, priority int) error {
	dir := b.dir(h)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var config strings.Builder
	err := keepalivedTemplate.Execute(&config, struct {
		timing
		Host, Dir, Interface, VIP string
		Priority                  int
	}{t, h.Name(), dir, lab.Interface, lab.VIP.String(), priority})
	if err != nil {
		return err
	}
	options := filepath.Join(dir, "client.cnf")
	script := func(sql string) string {
		return fmt.Sprintf("#!/bin/sh\nexec %s --defaults-file=%s --batch --silent --execute=%q\n", client, options, sql)
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"keepalived.conf", config.String(), 0o600},
		{"client.cnf", fmt.Sprintf("[client]\nsocket=%s\nuser=%s\npassword=%s\nconnect-timeout=1\n",
			h.Server.Socket(), lab.Control.User, lab.Control.Password), 0o600},
		{"check", script(checkSQL), 0o700},
		{"promote", script(promoteSQL), 0o700},
		{"demote", script(demoteSQL), 0o700},
	} {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

func (b *keepalived) dir(h *lab.Host) string { return filepath.Join(h.Dir(), "keepalived") }

func (b *keepalived) network() *lab.Lab { return b.Lab }

func (b *keepalived) log(h *lab.Host) string { return filepath.Join(b.dir(h), "keepalived.log") }

func (b *keepalived) start(ctx context.Context) error {
	hosts := b.Hosts()
	for i, h := range hosts {
		if err := b.launch(h); err != nil {
			return fmt.Errorf("start keepalived on %s: %w", h.Name(), err)
		}
		ready := func() (bool, error) { return b.backup(h) }
		if i == 0 {
			// The first one takes the VIP before the others are there.
			ready = func() (bool, error) { return b.primary(ctx, h) }
		}
		if err := await(ctx, "keepalived on "+h.Name(), ready); err != nil {
			return err
		}
	}
	return nil
}

// launch starts keepalived in the foreground.
func (b *keepalived) launch(h *lab.Host) error {
	log, err := os.Create(b.log(h))
	if err != nil {
		return err
	}
	defer log.Close()
	dir := b.dir(h)
	cmd := exec.Command(b.program, "--vrrp", "--dont-fork", "--log-console", "--log-detail",
		"--use-file", filepath.Join(dir, "keepalived.conf"),
		"--pid", filepath.Join(dir, "pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"))
	cmd.Stdout, cmd.Stderr = log, log
	b.running[h.Name()], err = h.Start(cmd)
	return err
}

// primary reports whether a host carries the VIP in front of a writable server.
func (b *keepalived) primary(ctx context.Context, h *lab.Host) (bool, error) {
	carries, err := h.Carries(lab.VIP)
	if err != nil || !carries {
		return false, err
	}
	readOnly, err := h.Server.QueryString(ctx, "SELECT @@global.read_only")
	return readOnly == "0", err
}

// backup reports whether a host is ready to take over: its check has succeeded.
func (b *keepalived) backup(h *lab.Host) (bool, error) {
	text, err := os.ReadFile(b.log(h))
	return strings.Contains(string(text), "Entering BACKUP STATE"), err
}

// freeze stops the process that elects and moves the VIP; the other one only starts it again if it ends.
func (b *keepalived) freeze(h *lab.Host) error {
	_, child, err := b.processes(h)
	if err != nil {
		return err
	}
	return unix.Kill(child, unix.SIGSTOP)
}

// kill ends both processes as one: the parent would start the child again, and the child would take its leave in good
// order when it noticed that the parent is gone.
func (b *keepalived) kill(h *lab.Host) error {
	parent, child, err := b.processes(h)
	if err != nil {
		return err
	}
	if err := parent.Stop(); err != nil {
		return err
	}
	if err := unix.Kill(child, unix.SIGKILL); err != nil {
		return err
	}
	parent.Kill()
	return nil
}

func (b *keepalived) pids(h *lab.Host) ([]int, error) {
	parent, child, err := b.processes(h)
	if err != nil {
		return nil, err
	}
	return []int{parent.Pid(), child}, nil
}

// processes are keepalived's parent and the id of its child, which does VRRP.
func (b *keepalived) processes(h *lab.Host) (parent *lab.Process, child int, err error) {
	parent = b.running[h.Name()]
	children, err := childrenOf(parent.Pid())
	if err != nil {
		return nil, 0, err
	}
	if len(children) != 1 {
		return nil, 0, fmt.Errorf("find keepalived's child on %s: it has %d", h.Name(), len(children))
	}
	return parent, children[0], nil
}

// await polls until a condition holds.
func await(ctx context.Context, what string, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
