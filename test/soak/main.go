// SPDX-License-Identifier: Apache-2.0

// Soak breaks a cluster of real servers again and again while clients write through the virtual IP,
// and asks after each fault whether the cluster has kept its promises and is healthy again.
//
//	soak -binary bin/highwater [-time 10m] [-authority vrrp|quorum] [-durability best-effort|lossless]
//	     [-flavor mysql|mariadb] [-hosts 3|2] [-seed N] [-faults NAME,...] [-logs DIR] [-markdown FILE]
//	soak -matrix -binary bin/highwater [-flavor mysql,mariadb] [-hosts 3,2] [-faults NAME,...]
//	     [-logs DIR] [-markdown FILE]
//
// The first draws faults at random until the time is over or a promise is broken. The same seed draws
// the same faults; what comes of them is up to the machine as well. The second goes through a fixed
// list, with a quorum and lossless, on a new cluster for each flavour and number of servers, and has
// a row for each fault whatever comes of it. Two servers have a witness beside them.
//
// Either ends by itself, removes what it made but for the logs, and exits with 0 only if no promise was
// broken. A server that is held is rebuilt as its operator would, and that is noted.
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
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"highwater/configs"
	"highwater/test/lab"
)

// options are the command line.
type options struct {
	binary     string
	time       time.Duration
	bound      time.Duration
	authority  string
	durability string
	seed       uint64
	faults     []fault // to be drawn
	matrix     bool
	scenarios  []scenario // of the matrix
	setups     []setup    // of which the matrix may have several
	logs       string
	markdown   string
}

// setup is what a cluster consists of.
type setup struct {
	flavor lab.Flavor
	hosts  int // with a server
}

// witnesses make the voters three.
func (s setup) witnesses() int { return 3 - s.hosts }

func (s setup) String() string {
	if s.hosts == 3 {
		return string(s.flavor) + ", three servers"
	}
	return string(s.flavor) + ", two servers and a witness"
}

// short is a name for files.
func (s setup) short() string { return fmt.Sprintf("%s-%d", s.flavor, s.hosts) }

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
	if o.matrix {
		return matrix(ctx, *o, out)
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
	flags.BoolVar(&o.matrix, "matrix", false, "go through the fixed list, with a quorum and lossless, instead of drawing faults")
	flavors := flags.String("flavor", string(lab.MySQL), "mysql or mariadb; with -matrix both, with a comma between")
	hosts := flags.String("hosts", "3", "3, or 2 for two servers and a witness; with -matrix both, with a comma between")
	names := flags.String("faults", "", "only these, with commas between; \"help\" lists them")
	flags.StringVar(&o.logs, "logs", filepath.Join("build", "soak"), "`directory` for the logs of the hosts and the table; what an earlier run left there goes")
	flags.StringVar(&o.markdown, "markdown", "", "`file` for the table too")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.matrix {
		o.authority, o.durability = configs.AuthorityQuorum, configs.Lossless
	}
	var err error
	if o.setups, err = setups(*flavors, *hosts); err != nil {
		return nil, err
	}
	switch {
	case *names == "help" && o.matrix:
		return nil, listScenarios(out)
	case *names == "help":
		return nil, listFaults(out)
	case o.authority != configs.AuthorityVRRP && o.authority != configs.AuthorityQuorum:
		return nil, fmt.Errorf("authority %q: want vrrp or quorum", o.authority)
	case o.durability != configs.BestEffort && o.durability != configs.Lossless:
		return nil, fmt.Errorf("durability %q: want best-effort or lossless", o.durability)
	case o.durability == configs.Lossless && o.authority != configs.AuthorityQuorum:
		return nil, errors.New("durability lossless needs authority quorum")
	case len(o.setups) > 1 && !o.matrix:
		return nil, errors.New("more than one flavor or number of hosts needs -matrix")
	case o.setups[0].hosts == 2 && o.authority != configs.AuthorityQuorum:
		return nil, errors.New("a witness needs authority quorum")
	case o.setups[0].hosts == 2 && o.durability != configs.Lossless:
		return nil, errors.New("semi-sync with two servers needs durability lossless: with either lost nobody is left to acknowledge")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1<<32-1) + 1 // short enough to be typed
	}
	if o.matrix {
		o.scenarios, err = named(*names, scenarios, func(s scenario) string { return s.name })
	} else {
		o.faults, err = named(*names, faults, func(f fault) string { return f.name })
	}
	return &o, err
}

// setups are all combinations of two lists.
func setups(flavors, hosts string) ([]setup, error) {
	var list []setup
	for flavor := range strings.SplitSeq(flavors, ",") {
		if f := lab.Flavor(flavor); f != lab.MySQL && f != lab.MariaDB && f != lab.MariaDB11 {
			return nil, fmt.Errorf("flavor %q: want %s, %s or %s", flavor, lab.MySQL, lab.MariaDB, lab.MariaDB11)
		}
		for number := range strings.SplitSeq(hosts, ",") {
			n, err := strconv.Atoi(number)
			if err != nil || n != 2 && n != 3 {
				return nil, fmt.Errorf("hosts %q: want 3, or 2 for two and a witness", number)
			}
			list = append(list, setup{lab.Flavor(flavor), n})
		}
	}
	return list, nil
}

// named finds those of a list that are named, with commas between; "" is all.
func named[T any](names string, all []T, name func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var list []T
	for want := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == want })
		if i < 0 {
			return nil, fmt.Errorf("unknown fault %q; -faults help lists them", want)
		}
		list = append(list, all[i])
	}
	return list, nil
}
