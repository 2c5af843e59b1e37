// SPDX-License-Identifier: Apache-2.0

// Labctl runs a lab by hand: hosts with replicating servers, to look around in and to break.
//
//	labctl [-flavor mysql|mariadb] [-hosts 3] [-witnesses 0] [-semi-sync]
//
// It prints how to get into each host and ends with Ctrl-C, which removes everything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"highwater/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "labctl:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var c lab.Config
	flags := flag.NewFlagSet("labctl", flag.ContinueOnError)
	flags.IntVar(&c.Hosts, "hosts", 3, "number of hosts with a server")
	flags.IntVar(&c.Witnesses, "witnesses", 0, "number of hosts without a server")
	flags.BoolVar(&c.SemiSync, "semi-sync", false, "semi-synchronous replication")
	flavor := flags.String("flavor", string(lab.MySQL), "mysql, mariadb, mariadb-11, or none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *flavor != "none" {
		c.Flavor = lab.Flavor(*flavor)
	}
	l, err := lab.New(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if c.Flavor != "" {
		if err := l.Bootstrap(ctx); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tADDRESS\tSHELL\tSERVER'S SOCKET")
	for _, hosts := range [][]*lab.Host{l.Hosts(), l.Witnesses(), {l.Client()}} {
		for _, h := range hosts {
			socket := ""
			if h.Server != nil {
				socket = h.Server.Socket()
			}
			fmt.Fprintf(table, "%s\t%s\tnsenter -a -t %d\t%s\n", h, h.Address(), h.Pid(), socket)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nCtrl-C ends it.")
	<-ctx.Done()
	return nil
}
