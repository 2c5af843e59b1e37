// SPDX-License-Identifier: Apache-2.0

// Demo shows Highwater's main job on real servers: three hosts with replicating MySQL or
// MariaDB, clients that write through the virtual IP, a fault at the primary, the way of the
// role to another host in milliseconds, the rows that were acknowledged and those that are
// gone, and the return of the old primary.
//
//	demo -binary bin/highwater [-fault NAME] [-flavor mysql|mariadb] [-authority vrrp|quorum] [-durability best-effort|lossless] [-semi-sync=false] [-quiet]
//	demo -binary bin/highwater -stay
//
// It exits with 0 only if exactly one host carries the virtual IP in the end and, with
// semi-sync, no acknowledged row is lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"highwater/configs"
	"highwater/test/lab"
)

// options are the command line.
type options struct {
	binary     string
	fault      string
	flavor     lab.Flavor
	authority  string
	durability string
	semiSync   bool
	stay       bool
	quiet      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything it made is removed")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil || o == nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("hosts are network namespaces: run it as root")
	}
	p := newPrinter(out, o.quiet && !o.stay)
	if o.stay {
		return stay(ctx, *o, in, p)
	}
	f, err := faultNamed(o.fault)
	if err != nil {
		return err
	}
	return demonstrate(ctx, *o, f, p)
}

// parse returns nil when there is nothing left to do.
func parse(args []string, out io.Writer) (*options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.binary, "binary", "bin/highwater", "the `program` to show")
	flags.StringVar(&o.fault, "fault", "kill-server", "what happens to the primary; \"help\" lists the faults")
	flags.Func("flavor", "mysql, mariadb or mariadb-11 (default mysql)", func(s string) error {
		o.flavor = lab.Flavor(s)
		switch o.flavor {
		case lab.MySQL, lab.MariaDB, lab.MariaDB11:
			return nil
		}
		return errors.New("want mysql, mariadb or mariadb-11")
	})
	flags.Func("authority", "who may be primary: whom VRRP elects, or a majority; vrrp or quorum (default vrrp, with lossless quorum)", func(s string) error {
		if s != configs.AuthorityVRRP && s != configs.AuthorityQuorum {
			return errors.New("want vrrp or quorum")
		}
		o.authority = s
		return nil
	})
	o.durability = configs.BestEffort
	flags.Func("durability", "what an acknowledged row is worth; best-effort or lossless (default best-effort)", func(s string) error {
		if s != configs.BestEffort && s != configs.Lossless {
			return errors.New("want best-effort or lossless")
		}
		o.durability = s
		return nil
	})
	flags.BoolVar(&o.semiSync, "semi-sync", true, "commits wait until a replica has received them")
	flags.BoolVar(&o.stay, "stay", false, "leave the cluster up to play with until Ctrl-C")
	flags.BoolVar(&o.quiet, "quiet", false, "print the result only")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.flavor == "" {
		o.flavor = lab.MySQL
	}
	lossless := o.durability == configs.Lossless
	switch {
	case o.authority == "" && lossless:
		o.authority = configs.AuthorityQuorum
	case o.authority == "":
		o.authority = configs.AuthorityVRRP
	case lossless && o.authority != configs.AuthorityQuorum:
		return nil, errors.New("-durability lossless needs -authority quorum")
	}
	if lossless && !o.semiSync {
		return nil, errors.New("-durability lossless waits for replicas: leave -semi-sync=false out")
	}
	if o.fault == "help" {
		return nil, listFaults(out)
	}
	return &o, nil
}
