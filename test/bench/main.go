// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	binary         string
	runs           int
	faults         []fault
	rest           bool
	restFor        time.Duration
	latency        bool
	latencyFor     time.Duration
	systems        []system
	json, markdown string
	logs           string
}

// The words among the faults for what is measured without any: the cost at rest, and what commits take.
const (
	restName    = "rest"
	latencyName = "latency"
)

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.binary, "binary", "bin/highwater", "the program to measure")
	flags.IntVar(&o.runs, "runs", 5, "trials of each fault with each system; pairs of halves of the latency")
	chosenFaults := flags.String("faults", strings.Join(faultNames(), ","), "what to measure; or "+latencyName)
	chosenSystems := flags.String("systems", strings.Join(systemNames(), ","), "with what")
	flags.DurationVar(&o.restFor, "rest-for", time.Minute, "how long to look at the systems at rest, without and with them")
	flags.DurationVar(&o.latencyFor, "latency-for", 4*time.Second, "how long a client commits in each half of a pair")
	flags.StringVar(&o.json, "json", "", "write every trial to this `file`")
	flags.StringVar(&o.markdown, "markdown", "", "write the tables of docs/benchmarks.md to this `file`")
	flags.StringVar(&o.logs, "logs", "", "keep the logs of every trial in this `directory`, and have Highwater log in detail")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.runs < 1:
		return o, errors.New("-runs must be 1 or more")
	case o.restFor < time.Second:
		return o, errors.New("-rest-for must be 1s or more")
	case o.latencyFor < time.Second:
		return o, errors.New("-latency-for must be 1s or more")
	}
	for name := range strings.SplitSeq(*chosenFaults, ",") {
		switch name {
		case restName:
			o.rest = true
			continue
		case latencyName:
			o.latency = true
			continue
		}
		f, ok := find(faults, func(f fault) bool { return f.name == name })
		if !ok {
			return o, fmt.Errorf("unknown fault %q: there are %s, %s", name, strings.Join(faultNames(), ", "), latencyName)
		}
		o.faults = append(o.faults, f)
	}
	for name := range strings.SplitSeq(*chosenSystems, ",") {
		s, ok := find(systems, func(s system) bool { return s.name == name })
		if !ok {
			return o, fmt.Errorf("unknown system %q: there are %s", name, strings.Join(systemNames(), ", "))
		}
		o.systems = append(o.systems, s)
	}
	switch {
	case o.latency && o.runs < 2:
		return o, fmt.Errorf("-runs must be 2 or more for %s: one pair has no interval", latencyName)
	case o.latency && !slices.ContainsFunc(o.systems, system.supervised):
		return o, fmt.Errorf("-systems has none whose %s is measured", latencyName)
	}
	return o, nil
}

func find[T any](list []T, is func(T) bool) (T, bool) {
	for _, v := range list {
		if is(v) {
			return v, true
		}
	}
	var none T
	return none, false
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	r, err := newReport(ctx, o)
	if err != nil {
		return err
	}
	measureError := measure(ctx, o, r, stderr)
	// What was measured until an error or Ctrl-C is worth seeing.
	return errors.Join(measureError, r.write(o, stdout))
}

// measure runs all trials, the systems in turn, and reports progress to the log. A trial that fails is one of its
// results; it returns an error if there was any.
func measure(ctx context.Context, o options, r *report, log io.Writer) error {
	plan := schedule(o)
	failed := 0
	for i, p := range plan {
		began := time.Now()
		t := runTrial(ctx, o, p)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t.Error != "" {
			failed++
		}
		r.Trials = append(r.Trials, t)
		fmt.Fprintf(log, "%3d/%d  %-18s %-18s %s  (%.0f s)\n", i+1, len(plan), t.Fault, t.System, t.line(), time.Since(began).Seconds())
	}
	if o.rest {
		fmt.Fprintf(log, "at rest: twice %s\n", o.restFor)
		var err error
		if r.Rest, err = measureRest(ctx, o); err != nil {
			return fmt.Errorf("measure at rest: %w", err)
		}
	}
	if o.latency {
		var err error
		if r.Latency, err = measureLatency(ctx, o, log); err != nil {
			return fmt.Errorf("measure latency: %w", err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d trials failed", failed, len(plan))
	}
	return nil
}

// planned is a trial to be.
type planned struct {
	fault  fault
	system system
	run    int // from 1
}

// schedule has the systems take turns; in every run another one begins.
func schedule(o options) []planned {
	var plan []planned
	for run := range o.runs {
		for _, f := range o.faults {
			for i := range o.systems {
				s := o.systems[(run+i)%len(o.systems)]
				if f.concerns(s) {
					plan = append(plan, planned{f, s, run + 1})
				}
			}
		}
	}
	return plan
}
