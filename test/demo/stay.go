// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// playground is a cluster to play with.
type playground struct {
	*printer
	o      options
	c      *cluster.Cluster
	binary string
	pages  map[string]string // status page of each host, reachable from this machine
	broken map[string]fault  // by host
	writer *lab.Writer
}

// stay sets the cluster up and obeys lines from in until ctx ends.
func stay(ctx context.Context, o options, in io.Reader, p *printer) (err error) {
	g := &playground{printer: p, o: o, pages: map[string]string{}, broken: map[string]fault{}}
	if g.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if g.c, err = setUp(ctx, o, p); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.c.Close()) }()
	for _, h := range g.c.Hosts() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer listener.Close() //nolint:errcheck // nothing is written
		g.pages[h.Name()] = "http://" + listener.Addr().String() + "/"
		go forward(ctx, listener, g.c.Client(), fmt.Sprintf("%s:%d", h.Address(), cluster.WebPort))
	}
	if g.writer, err = g.c.Client().StartWriter(lab.WriterConfig{}); err != nil {
		return err
	}
	defer func() { g.writer.Stop() }()
	if err := g.help(); err != nil {
		return err
	}

	lines := make(chan string)
	go func() { // ends with the program: reading a terminal cannot be interrupted
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	for {
		fmt.Fprint(p.out, p.paint(sgrBold, "lab> "))
		select {
		case <-ctx.Done():
			fmt.Fprintln(p.out, "\nremoving everything")
			return nil
		case line := <-lines:
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if words[0] == "quit" || words[0] == "exit" {
				return nil
			}
			if err := g.obey(ctx, words); err != nil && ctx.Err() == nil {
				p.say("error", "%v", err)
			}
		}
	}
}

// obey carries out one line.
func (g *playground) obey(ctx context.Context, words []string) error {
	switch {
	case words[0] == "help" && len(words) == 1:
		return g.help()
	case words[0] == "faults" && len(words) == 1:
		return listFaults(g.out)
	case words[0] == "status" && len(words) == 1:
		return g.status(ctx)
	case words[0] == "rows" && len(words) == 1:
		return g.rows(ctx)
	case words[0] == "heal" && len(words) == 2:
		return g.heal(ctx, words[1])
	case len(words) == 2:
		return g.breakHost(ctx, words[0], words[1])
	}
	return fmt.Errorf("%q is not understood; \"help\" says what is", strings.Join(words, " "))
}

// help prints how to get in, and what can be said here.
func (g *playground) help() error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tADDRESS\tROOT SHELL\tSTATUS PAGE, METRICS")
	for _, h := range append(g.c.Hosts(), g.c.Client()) {
		shell := "(switched off)"
		if h.On() {
			shell = fmt.Sprintf("nsenter -a -t %d", h.Pid())
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", h, h.Address(), shell, g.pages[h.Name()])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	g.say("hosts", "%s", text.String())
	first := g.c.Hosts()[0]
	client, err := lab.Program(map[bool]string{false: "mysql", true: "mariadb"}[g.o.flavor.IsMariaDB()])
	if err != nil {
		return err
	}
	g.say("by hand", "In a host's shell, where DB is its name:")
	g.say("", "  %s status --config %s", g.binary, strings.Replace(g.c.ConfigFile(first), "/"+first.Name()+"/", "/DB/", 1))
	g.say("", "  %s --socket %s --user root", client, strings.Replace(first.Server.Socket(), "/"+first.Name()+"/", "/DB/", 1))
	g.say("", "  kill -9 PID, kill -STOP PID (ps shows the host's processes), ip link set %s down", lab.Interface)
	g.say("", "In the client's shell:")
	g.say("", "  %s --host %s --user %s --password=%s %s", client, lab.VIP, lab.App.User, lab.App.Password, lab.Database)
	g.say("", "The logs are %s", strings.Replace(g.c.LogFile(first), "/"+first.Name()+"/", "/DB/", 1))
	g.say("here", "FAULT HOST   break it, as \"kill-server db1\"; \"faults\" lists them")
	g.say("", "heal HOST    end its fault; start what was killed, also by hand or by highwater")
	g.say("", "status       the cluster as its primary sees it")
	g.say("", "rows         what the clients, which write all the while, were told, and the longest outage")
	g.say("", "help         all this again")
	g.say("", "Ctrl-C       remove everything")
	return nil
}

func (g *playground) host(name string) (*lab.Host, error) {
	for _, h := range g.c.Hosts() {
		if h.Name() == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("no database host is called %q", name)
}

func (g *playground) breakHost(ctx context.Context, name, host string) error {
	f, err := faultNamed(name)
	if err != nil {
		return fmt.Errorf("%q is no fault; \"faults\" lists them", name)
	}
	h, err := g.host(host)
	if err != nil {
		return err
	}
	if old, ok := g.broken[host]; ok {
		return fmt.Errorf("%s is broken already (%s); \"heal %s\" first", host, old.name, host)
	}
	if err := f.begin(ctx, g.c, h); err != nil {
		return err
	}
	if f.heals() {
		g.broken[host] = f
	}
	g.say("", f.what, h)
	return nil
}

// heal ends a host's fault, and starts what was killed, by Highwater or by hand.
func (g *playground) heal(ctx context.Context, host string) error {
	h, err := g.host(host)
	if err != nil {
		return err
	}
	if f, ok := g.broken[host]; ok {
		if err := f.end(ctx, g.c, h); err != nil {
			return err
		}
		delete(g.broken, host)
		g.say("", "%s: %s", h, f.heal)
	}
	if !h.Server.Alive() {
		if err := h.Server.Start(ctx); err != nil {
			return err
		}
		g.say("", "%s: its server is started", h)
	}
	if !g.c.Supervisor(h).Alive() {
		if err := g.c.StartSupervisor(h); err != nil {
			return err
		}
		g.say("", "%s: highwater is started", h)
	}
	return nil
}

// primary finds the status of a host that says it is primary, or of any that answers.
func (g *playground) primary(ctx context.Context) (*lab.Host, error) {
	var found *lab.Host
	for _, h := range g.c.Hosts() {
		status, err := g.c.Status(ctx, h)
		switch {
		case err != nil:
		case status.Host(h.Name()).Role == "primary":
			return h, nil
		default:
			found = h
		}
	}
	if found == nil {
		return nil, errors.New("no supervisor answers")
	}
	return found, nil
}

func (g *playground) status(ctx context.Context) error {
	h, err := g.primary(ctx)
	if err != nil {
		return err
	}
	return showStatus(ctx, g.c, h, g.printer)
}

// rows stops the clients, compares, and lets new ones write.
func (g *playground) rows(ctx context.Context) (err error) {
	h, err := g.primary(ctx)
	if err != nil {
		return err
	}
	record := g.writer.Stop()
	defer func() {
		next, startErr := g.c.Client().StartWriter(lab.WriterConfig{})
		if startErr == nil {
			g.writer = next
		}
		err = errors.Join(err, startErr)
	}()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	d, err := record.Verify(ctx, h.Server)
	if err != nil {
		return err
	}
	g.say("", "%d rows acknowledged since the last look; %s has all but %d", len(record.Acks), h, len(d.Missing))
	g.say("", "longest outage %s; counting begins anew", short(record.Outage().Duration()))
	return nil
}

// forward passes connections on to an address that a host of the lab reaches.
func forward(ctx context.Context, listener net.Listener, from *lab.Host, address string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer conn.Close() //nolint:errcheck // a broken connection is its user's to see
			dialCtx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			far, err := from.Dial(dialCtx, "tcp", address)
			if err != nil {
				return
			}
			defer far.Close() //nolint:errcheck // as above
			go func() {
				_, _ = io.Copy(far, conn)
				_ = far.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(conn, far)
		}()
	}
}
