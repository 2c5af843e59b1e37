// SPDX-License-Identifier: Apache-2.0

// Soak breaks a cluster of three real servers again and again, in an order drawn at random, while
// clients write through the virtual IP, and asks after each fault whether the cluster has kept its
// promises and is healthy again.
//
//	soak -binary bin/highwater [-time 10m] [-authority vrrp|quorum] [-durability best-effort|lossless]
//	     [-seed N] [-faults NAME,...] [-logs DIR] [-markdown FILE]
//
// The servers are MySQL's: one that is held is rebuilt with the CLONE plugin. It ends by itself,
// removes what it made but for the logs, and exits with 0 only if no promise was broken. The same
// seed draws the same faults; what comes of them is up to the machine as well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"highwater/configs"
)

// options are the command line.
type options struct {
	binary     string
	time       time.Duration
	bound      time.Duration
	authority  string
	durability string
	seed       uint64
	faults     []fault
	logs       string
	markdown   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil || o == nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("hosts are network namespaces: run it as root")
	}
	return soak(ctx, *o, out)
}

// parse returns nil when there is nothing left to do.
func parse(args []string, out io.Writer) (*options, error) {
	var o options
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.StringVar(&o.binary, "binary", "bin/highwater", "the `program` to break")
	flags.DurationVar(&o.time, "time", 10*time.Minute, "no further fault begins after this")
	flags.DurationVar(&o.bound, "bound", time.Minute, "after a fault has ended, the cluster is healthy again within this")
	flags.StringVar(&o.authority, "authority", configs.AuthorityVRRP, "vrrp or quorum")
	flags.StringVar(&o.durability, "durability", configs.BestEffort, "best-effort, with semi-sync set up on the servers, or lossless")
	flags.Uint64Var(&o.seed, "seed", 0, "draws the faults; 0 draws one")
	names := flags.String("faults", "", "only these, with commas between; \"help\" lists them")
	flags.StringVar(&o.logs, "logs", filepath.Join("build", "soak"), "`directory` for the logs of the hosts and the table; what an earlier run left there goes")
	flags.StringVar(&o.markdown, "markdown", "", "`file` for the table too")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *names == "help":
		return nil, listFaults(out)
	case o.authority != configs.AuthorityVRRP && o.authority != configs.AuthorityQuorum:
		return nil, fmt.Errorf("authority %q: want vrrp or quorum", o.authority)
	case o.durability != configs.BestEffort && o.durability != configs.Lossless:
		return nil, fmt.Errorf("durability %q: want best-effort or lossless", o.durability)
	case o.durability == configs.Lossless && o.authority != configs.AuthorityQuorum:
		return nil, errors.New("durability lossless needs authority quorum")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1<<32-1) + 1 // short enough to be typed
	}
	var err error
	o.faults, err = faultsNamed(*names)
	return &o, err
}

// faultsNamed finds faults by their names; "" is all.
func faultsNamed(names string) ([]fault, error) {
	if names == "" {
		return faults, nil
	}
	var list []fault
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, f := range faults {
			if f.name == name {
				list, found = append(list, f), true
			}
		}
		if !found {
			return nil, fmt.Errorf("unknown fault %q; -faults help lists them", name)
		}
	}
	return list, nil
}
