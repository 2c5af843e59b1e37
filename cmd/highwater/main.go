// SPDX-License-Identifier: Apache-2.0

// Command highwater is a high-availability supervisor for MySQL and MariaDB: one process
// beside every server, and a virtual IP that moves only to a healthy, caught-up primary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"highwater/supervisor/control"
)

// version is set by the build.
var version = "devel"

// Exit codes (docs/design.md §7).
const (
	exitDone        = control.CodeDone
	exitFailed      = control.CodeFailed
	exitUsage       = control.CodeUsage
	exitRefused     = control.CodeRefused
	exitUnreachable = control.CodeUnreachable
)

// defaultConfig is the configuration file of every command.
const defaultConfig = "/etc/highwater/highwater.yaml"

// exitError ends a command with a code of its own. An empty text was printed already.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

func failf(code int, format string, args ...any) error {
	return &exitError{code: code, text: fmt.Sprintf(format, args...)}
}

// command is one subcommand.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, e *env, args []string) error
}

// env is what a command may touch.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	flush          func() // writes what stderr holds back, within a bound; may be nil
}

func commands() []command {
	return []command{
		{"run", "take part in the cluster (what the service runs)", cmdRun},
		{"upgrade", "have the program file that is on the disk now take over; nothing moves", cmdUpgrade},
		{"stop", "hand over if a successor is ready, else release and go", cmdStop},
		{"status", "the cluster as this host sees it", cmdStatus},
		{"check", "the configuration and this host: what is missing, and how to mend it", cmdCheck},
		{"grants", "the SQL that makes the accounts with the least privileges", cmdGrants},
		{"failover", "stand now although hosts are missing", cmdFailover},
		{"pause", "no failover that nobody orders, in the whole cluster (--for 2h, --why TEXT)", cmdPause},
		{"resume", "failovers happen by themselves again", cmdResume},
		{"history", "the last moves of the role, the same on every host", cmdHistory},
		{"member", "member list, add NODE, remove NODE: the supervisors that vote", cmdMember},
		{"recover", "begin the cluster anew on this host, when the majority is lost for good", cmdRecover},
		{"rejoin", "bring this host's server back as a replica (--rebuild copies the primary)", cmdRejoin},
		{"version", "the version of this program", cmdVersion},
	}
}

func main() {
	e := &env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(run(context.Background(), e, os.Args[1:]))
}

func run(ctx context.Context, e *env, args []string) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		printUsage(e.stdout)
		if len(args) == 0 {
			return exitUsage
		}
		return exitDone
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		code := outcome(e, c.name, c.run(ctx, e, args[1:]))
		if e.flush != nil {
			e.flush()
		}
		return code
	}
	fmt.Fprintf(e.stderr, "highwater: unknown command %q; `highwater help` lists them\n", args[0])
	return exitUsage
}

// outcome prints why a command failed and returns its exit code.
func outcome(e *env, name string, err error) int {
	var exit *exitError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, &exit):
		if exit.text != "" {
			fmt.Fprintf(e.stderr, "highwater %s: %s\n", name, exit.text)
		}
		return exit.code
	default:
		fmt.Fprintf(e.stderr, "highwater %s: %v\n", name, err)
		return exitFailed
	}
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, `Highwater keeps a virtual IP on the one healthy, caught-up MySQL primary.

Usage: highwater COMMAND [--config FILE] [flags]

`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(w, `
Every command takes --config FILE (default %s) and --help.
Exit codes: 0 done, 1 failed, 2 usage, 3 refused for safety, 4 unreachable.
`, defaultConfig)
}

// flags returns a flag set with --config, whose --help reads like the command list.
func flags(e *env, name, usage string) (*flag.FlagSet, *string) {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(e.stderr)
	config := f.String("config", defaultConfig, "configuration `FILE`")
	f.Usage = func() {
		fmt.Fprintf(e.stderr, "Usage: highwater %s %s\n\n", name, usage)
		f.PrintDefaults()
	}
	return f, config
}

// parse parses the flags and refuses arguments that no flag takes.
func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &exitError{code: exitUsage} // flag has printed it
	}
	if f.NArg() > 0 {
		return failf(exitUsage, "unexpected argument %q", f.Arg(0))
	}
	return nil
}
