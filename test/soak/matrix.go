// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"highwater/election"
)

// roundLimit bounds one fault of the matrix, with all that is waited for before and after it.
const roundLimit = 5 * time.Minute

// errBroken says that the matrix came to its end, and has rows that are wrong.
var errBroken = errors.New("a promise was broken")

// matrix goes through the list on a cluster of each kind, and writes one table for each.
func matrix(ctx context.Context, o options, out io.Writer) error {
	if err := os.RemoveAll(o.logs); err != nil {
		return err
	}
	var text strings.Builder
	var errs []error
	for _, of := range o.setups {
		part, err := matrixOf(ctx, o, of, out)
		errs = append(errs, err)
		text.WriteString(part + "\n")
		if ctx.Err() != nil {
			break
		}
	}
	for _, path := range []string{filepath.Join(o.logs, "matrix.md"), o.markdown} {
		if path != "" {
			errs = append(errs, os.WriteFile(path, []byte(text.String()), 0o644))
		}
	}
	fmt.Fprintf(out, "logs: %s\n", o.logs)
	return errors.Join(errs...)
}

// matrixOf goes through the list on one cluster. Where that has not healed, the next row begins with a new one.
func matrixOf(ctx context.Context, o options, of setup, out io.Writer) (text string, err error) {
	fmt.Fprintf(out, "matrix: %s, authority %s, durability %s\n", of, o.authority, o.durability)
	var rows []row
	var version string
	started := time.Now()
	s := &soaking{o: o, out: out, rand: rand.New(rand.NewPCG(0, 0))}
	clusters := 0
	end := func() error {
		if s.c == nil {
			return nil
		}
		err := errors.Join(s.keepLogs(s.logDir(of, clusters)), s.c.Close())
		s.c, s.records = nil, nil
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, sc := range o.scenarios {
		w := row{scenario: sc}
		for range max(sc.times, 1) {
			if s.c == nil {
				clusters++
				if err := s.setUp(ctx, of, s.logDir(of, clusters)); err != nil {
					return matrixTable(of, version, rows, time.Since(started)), err
				}
				if version, err = s.c.Hosts()[0].Server.QueryString(ctx, "SELECT @@version"); err != nil {
					return "", err
				}
			}
			r := s.one(ctx, sc)
			w.rounds = append(w.rounds, r)
			fmt.Fprintf(out, "%4d %7s  %s\n", len(rows)+1, time.Since(started).Round(time.Second), r)
			if ctx.Err() != nil {
				return matrixTable(of, version, append(rows, w), time.Since(started)), ctx.Err()
			}
			if !r.well {
				if err := end(); err != nil {
					return matrixTable(of, version, append(rows, w), time.Since(started)), err
				}
			}
		}
		rows = append(rows, w)
	}
	if s.c != nil {
		last, cancel := context.WithTimeout(ctx, endLimit)
		defer cancel()
		err = s.last(last)
	}
	for _, w := range rows {
		if len(w.wrong()) > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %s: %w", of, w.name, errBroken))
		}
	}
	text = matrixTable(of, version, rows, time.Since(started))
	fmt.Fprintf(out, "\n%s\n", text)
	return text, err
}

// logDir is where the logs of a cluster are kept.
func (s *soaking) logDir(of setup, n int) string {
	return filepath.Join(s.o.logs, fmt.Sprintf("%s-%d", of.short(), n))
}

// one is one round of a row.
func (s *soaking) one(ctx context.Context, sc scenario) round {
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	before := s.rebuilt()
	r := s.round(ctx, trial{fault: sc.fault, hits: sc.hits, hold: sc.hold, stays: sc.stays})
	r.cloned = s.rebuilt() - before
	return r
}

// rebuilt is how often any server was rebuilt by itself. Metrics count anew when a supervisor starts.
func (s *soaking) rebuilt() int {
	n := 0
	for _, h := range s.c.Hosts() {
		// A log that cannot be read shows as a server that nobody rebuilt.
		text, _ := os.ReadFile(s.c.LogFile(h))
		n += strings.Count(string(text), " msg="+string(election.CodeRebuilt)+" ")
	}
	return n
}
