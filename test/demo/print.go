// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SGR sequences (ECMA-48 §8.3.117).
const (
	sgrBold   = "1"
	sgrDim    = "2"
	sgrRed    = "31"
	sgrGreen  = "32"
	sgrYellow = "33"
)

// printer writes for a person: a heading at the left, text beside it.
type printer struct {
	out     io.Writer
	color   bool
	quiet   bool
	started time.Time // of the work that is announced, zero when it is done
}

func newPrinter(out io.Writer, quiet bool) *printer {
	p := &printer{out: out, quiet: quiet}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		p.color = err == nil
	}
	return p
}

// paint colors text on a terminal.
func (p *printer) paint(sgr, text string) string {
	if !p.color || sgr == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// headWidth is that of the headings.
const headWidth = 10

// line prints text, which may have several lines, beside a heading.
func (p *printer) line(head, format string, args ...any) {
	if p.quiet {
		return
	}
	p.say(head, format, args...)
}

// say prints also when quiet.
func (p *printer) say(head, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for i, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i > 0 {
			head = ""
		}
		fmt.Fprintln(p.out, strings.TrimRight(p.head(head)+l, " "))
	}
}

func (p *printer) head(text string) string {
	return p.paint(sgrBold, fmt.Sprintf("%-*s", headWidth, text))
}

func (p *printer) blank() {
	if !p.quiet {
		fmt.Fprintln(p.out)
	}
}

// begin announces work that takes time; done or failed ends its line.
func (p *printer) begin(head, format string, args ...any) {
	p.started = time.Now()
	if !p.quiet {
		fmt.Fprintf(p.out, "%s%s ... ", p.head(head), fmt.Sprintf(format, args...))
	}
}

// done ends the line of begin, with the time it took when text is empty.
func (p *printer) done(format string, args ...any) {
	if p.quiet || p.started.IsZero() {
		return
	}
	text := fmt.Sprintf(format, args...)
	if text == "" {
		text = fmt.Sprintf("%.1f s", time.Since(p.started).Seconds())
	}
	p.started = time.Time{}
	fmt.Fprintln(p.out, text)
}

// doing does work between begin and done.
func (p *printer) doing(head, text string, work func() error) error {
	p.begin(head, "%s", text)
	if err := work(); err != nil {
		p.done("%s", p.paint(sgrRed, "failed"))
		return err
	}
	p.done("")
	return nil
}

// millis shows an instant of a timeline.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

// short shows a duration to three digits or so.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + short(-d)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
}

// count reads as in a sentence.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
