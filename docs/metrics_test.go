// SPDX-License-Identifier: Apache-2.0

// Package docs holds the pages to the program.
package docs

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metric is what the page, or the program, says of one metric.
type metric struct {
	kind   string
	labels string // sorted, with commas
}

// TestMetrics compares the page with what the program sends in the situations of its golden
// files: names, types and labels.
func TestMetrics(t *testing.T) {
	sent := sentMetrics(t)
	told := toldMetrics(t)
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		switch got, ok := told[name]; {
		case !ok:
			t.Errorf("metrics.md lacks %s", name)
		case got != sent[name]:
			t.Errorf("metrics.md says %+v of %s; the program sends %+v", got, name, sent[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if _, ok := sent[name]; !ok {
			t.Errorf("metrics.md has %s, which the program does not send", name)
		}
	}
}

var (
	typeLine   = regexp.MustCompile(`^# TYPE (highwater_\S+) (\S+)$`)
	sampleLine = regexp.MustCompile(`^(highwater_[a-z_0-9]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$`)
	labelName  = regexp.MustCompile(`(\w+)="`)
	tableRow   = regexp.MustCompile("^\\| `(highwater_[a-z_0-9]+)` \\| (\\w+) \\| ([^|]*)\\| [^|]+ \\|$")
	quotedName = regexp.MustCompile("`(\\w+)`")
)

func sentMetrics(t *testing.T) map[string]metric {
	t.Helper()
	files, err := filepath.Glob("../supervisor/web/testdata/metrics_*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files of the metrics: %v, %v", files, err)
	}
	kinds, labels := map[string]string{}, map[string]map[string]bool{}
	for _, line := range lines(t, files...) {
		if m := typeLine.FindStringSubmatch(line); m != nil {
			kinds[m[1]] = m[2]
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if labels[m[1]] == nil {
			labels[m[1]] = map[string]bool{}
		}
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" { // a histogram's own
				labels[m[1]][l[1]] = true
			}
		}
	}
	all := map[string]metric{}
	for name, kind := range kinds {
		all[name] = metric{kind, strings.Join(slices.Sorted(maps.Keys(labels[name])), ", ")}
	}
	return all
}

func toldMetrics(t *testing.T) map[string]metric {
	t.Helper()
	all := map[string]metric{}
	for _, line := range lines(t, "metrics.md") {
		m := tableRow.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(line, "| `highwater_") {
				t.Errorf("metrics.md: not a row of name, type, labels, meaning: %s", line)
			}
			continue
		}
		if _, again := all[m[1]]; again {
			t.Errorf("metrics.md has %s twice", m[1])
		}
		var labels []string
		for _, l := range quotedName.FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		all[m[1]] = metric{m[2], strings.Join(labels, ", ")}
	}
	return all
}

func lines(t *testing.T, files ...string) []string {
	t.Helper()
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Split(string(text), "\n")...)
	}
	return all
}
