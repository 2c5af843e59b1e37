// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"highwater/test/lab"
)

// A report is everything that was measured, and where.
type report struct {
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Started  time.Time         `json:"started"`
	Took     float64           `json:"took_seconds"`
	Runs     int               `json:"runs"`
	Trials   []trial           `json:"trials"`
	Rest     []cost            `json:"rest"`
	Latency  []pair            `json:"latency"`
}

// machine is where it was measured.
type machine struct {
	Kernel string `json:"kernel"`
	Cores  int    `json:"cores"`
}

func newReport(ctx context.Context, o options) (*report, error) {
	r := &report{
		Machine: machine{Cores: runtime.NumCPU()}, Versions: map[string]string{},
		Started: time.Now().UTC().Truncate(time.Second), Runs: o.runs,
		Trials: []trial{}, Rest: []cost{}, Latency: []pair{},
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, fmt.Errorf("read the kernel's version: %w", err)
	}
	r.Machine.Kernel = unix.ByteSliceToString(name.Release[:])
	mysqld, mysqldError := lab.Program("mysqld")
	keepalived, keepalivedError := lab.Program("keepalived")
	if err := errors.Join(mysqldError, keepalivedError); err != nil {
		return nil, err
	}
	for program, argv := range map[string][]string{
		"highwater":  {o.binary, "version"},
		"mysqld":     {mysqld, "--version"},
		"keepalived": {keepalived, "--version"},
	} {
		// keepalived speaks on its standard error.
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("ask %s for its version: %w", argv[0], err)
		}
		r.Versions[program] = versionIn(string(out))
	}
	return r, nil
}

// versionIn is the first word of a text that has a digit: with a name before it, as every program here says it.
func versionIn(text string) string {
	for _, word := range strings.Fields(text) {
		if digits := strings.TrimPrefix(word, "v"); digits != "" && digits[0] >= '0' && digits[0] <= '9' {
			return word
		}
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

// write shows the report and writes the files that were asked for.
func (r *report) write(o options, stdout io.Writer) error {
	r.Took = time.Since(r.Started).Truncate(time.Second).Seconds()
	if err := r.text(stdout); err != nil {
		return err
	}
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		return os.WriteFile(o.markdown, []byte(r.markdown()), 0o644)
	}
	return nil
}

// A table is one of the report's.
type table struct {
	title string
	rows  [][]string // the first one is the head
}

// text writes the tables for people.
func (r *report) text(w io.Writer) error {
	fmt.Fprintf(w, "\n%s\n", r.where())
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n%s\n\n", t.title)
		columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range t.rows {
			fmt.Fprintln(columns, strings.ReplaceAll(strings.Join(row, "\t"), "`", ""))
		}
		if err := columns.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// markdown is the tables for docs/benchmarks.md.
func (r *report) markdown() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.where())
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n%s:\n\n", t.title)
		for i, row := range t.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(&b, "|%s\n", strings.Repeat(" --- |", len(row)))
			}
		}
	}
	return b.String()
}

// where says what was measured, when and on what, and how much else the machine had to do.
func (r *report) where() string {
	text := fmt.Sprintf("%s, %d cores, Linux %s; MySQL %s, keepalived %s, Highwater %s",
		r.Started.Format(time.DateOnly), r.Machine.Cores, r.Machine.Kernel,
		r.Versions["mysqld"], r.Versions["keepalived"], r.Versions["highwater"])
	var loads []float64
	for _, t := range r.Trials {
		loads = append(loads, t.Load)
	}
	for _, p := range r.Latency {
		loads = append(loads, p.Load)
	}
	if len(loads) > 0 {
		text += fmt.Sprintf("; %d runs of each, at a load average of %.1f to %.1f", r.Runs, slices.Min(loads), slices.Max(loads))
	}
	return text + "."
}

func (r *report) tables() []table {
	var tables []table
	if len(r.Trials) > 0 {
		tables = append(tables, r.outages(), r.safety())
	}
	if len(r.Rest) > 0 {
		tables = append(tables, r.atRest())
	}
	if len(r.Latency) > 0 {
		tables = append(tables, r.latency(), r.pairs())
	}
	return tables
}

// outages is a row for each fault and a column for each system.
func (r *report) outages() table {
	t := table{title: "Outage, median (quartiles; least to most)"}
	head := []string{"fault on the primary"}
	for _, s := range systemsOf(r.Trials) {
		head = append(head, s.title)
	}
	t.rows = append(t.rows, head)
	for _, f := range faultsOf(r.Trials) {
		row := []string{f.title}
		for _, s := range systemsOf(r.Trials) {
			row = append(row, outageOf(r.of(f, s)))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// of are the trials of a fault with a system.
func (r *report) of(f fault, s system) []trial {
	var trials []trial
	for _, t := range r.Trials {
		if t.Fault == f.name && t.System == s.name {
			trials = append(trials, t)
		}
	}
	return trials
}

// outageOf is a cell of the table of outages.
func outageOf(trials []trial) string {
	var ended []float64
	endless, failed := 0, 0
	for _, t := range trials {
		switch {
		case t.Error != "":
			failed++
		case t.Ended:
			ended = append(ended, t.Outage)
		default:
			endless++
		}
	}
	if len(trials) == 0 {
		return "–"
	}
	var words []string
	if len(ended) > 0 {
		words = append(words, quartiles(ended))
	}
	if endless > 0 {
		words = append(words, fmt.Sprintf("no end within %.0f s in %d of %d", recoverLimit.Seconds(), endless, len(trials)))
	}
	if failed > 0 {
		words = append(words, fmt.Sprintf("no result in %d of %d", failed, len(trials)))
	}
	return strings.Join(words, "; ")
}

// safety is a row for each fault and system.
func (r *report) safety() table {
	t := table{title: "Safety, the worst of all runs"}
	t.rows = append(t.rows, []string{
		"fault on the primary", "with", "acknowledged rows lost", "two servers acknowledged",
		"VIP on two hosts", "both writable", "VIP at one other host for good",
	})
	for _, f := range faultsOf(r.Trials) {
		for _, s := range systemsOf(r.Trials) {
			trials := slices.DeleteFunc(r.of(f, s), func(t trial) bool { return t.Error != "" })
			if len(trials) == 0 {
				continue
			}
			t.rows = append(t.rows, []string{
				f.title, s.title, lost(trials),
				worst(trials, func(t trial) float64 { return t.Overlap }),
				worst(trials, func(t trial) float64 { return t.TwoCarriers }),
				worst(trials, func(t trial) float64 { return t.TwoWriters }),
				settledOf(trials),
			})
		}
	}
	return t
}

// lost says how many rows were lost.
func lost(trials []trial) string {
	most, in := 0, 0
	for _, t := range trials {
		if t.Lost > 0 {
			in++
			most = max(most, t.Lost)
		}
	}
	if in == 0 {
		return "0"
	}
	return fmt.Sprintf("up to %d, in %d of %d runs", most, in, len(trials))
}

// worst says how long something went on that should not be.
func worst(trials []trial, of func(trial) float64) string {
	most, in := 0.0, 0
	for _, t := range trials {
		if v := of(t); v > 0 {
			in++
			most = max(most, v)
		}
	}
	if in == 0 {
		return "never"
	}
	return fmt.Sprintf("up to %s, in %d of %d runs", seconds(most), in, len(trials))
}

// settledOf says when the VIP was where it belongs.
func settledOf(trials []trial) string {
	var times []float64
	for _, t := range trials {
		if t.Settled != nil {
			times = append(times, *t.Settled)
		}
	}
	switch {
	case len(times) == 0:
		return "never"
	case len(times) < len(trials):
		return fmt.Sprintf("after %s; never in %d of %d", spread(times), len(trials)-len(times), len(trials))
	default:
		return "after " + spread(times)
	}
}

// atRest is a row for each system and role.
func (r *report) atRest() table {
	t := table{title: "At rest, default intervals, no client"}
	t.rows = append(t.rows, []string{
		"with", "on", "CPU with its scripts", "RSS", "connections to the server", "the server's CPU", "without the system",
	})
	for _, c := range r.Rest {
		s, _ := find(systems, func(s system) bool { return s.name == c.System })
		t.rows = append(t.rows, []string{
			s.title, c.Role, percent(c.CPU), fmt.Sprintf("%.1f MiB", float64(c.RSS)/(1<<20)), fmt.Sprint(c.Connections),
			percent(c.ServerCPU), percent(c.BareServerCPU),
		})
	}
	return t
}

// spread is the median of values, and the least and the most of them.
func spread(values []float64) string {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 1 {
		return seconds(sorted[0])
	}
	return fmt.Sprintf("%s (%s to %s)", seconds(median(sorted)), seconds(sorted[0]), seconds(sorted[len(sorted)-1]))
}

// quartiles is spread with the lower and the upper quartile.
func quartiles(values []float64) string {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 1 {
		return seconds(sorted[0])
	}
	return fmt.Sprintf("%s (%s to %s; %s to %s)", seconds(median(sorted)), seconds(quantile(sorted, 0.25)), seconds(quantile(sorted, 0.75)),
		seconds(sorted[0]), seconds(sorted[len(sorted)-1]))
}

// median of sorted values.
func median(sorted []float64) float64 { return quantile(sorted, 0.5) }

// quantile of sorted values, of which there is one at least: between two of them it goes straight from one to the
// other. q is from 0 to 1.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below+1 == len(sorted) {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

func seconds(s float64) string { return fmt.Sprintf("%.2f s", s) }

func percent(p float64) string { return fmt.Sprintf("%.2f %%", p) }
