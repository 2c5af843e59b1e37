// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"highwater/configs"
	"highwater/supervisor"
	"highwater/supervisor/sdnotify"
)

// load reads the configuration and finds this host's entry.
func load(path string) (*configs.Config, *configs.Node, error) {
	c, err := configs.Load(path)
	if err != nil {
		return nil, nil, failf(exitUsage, "%v", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, fmt.Errorf("read the host name: %w", err)
	}
	self, err := c.Self(host)
	if err != nil {
		return nil, nil, failf(exitUsage, "%v", err)
	}
	return c, self, nil
}

// runnable reads a configuration with which `run` can start, and the secrets that it names.
func runnable(path string) (*configs.Config, *configs.Node, configs.Secrets, error) {
	c, self, err := load(path)
	if err != nil {
		return nil, nil, configs.Secrets{}, err
	}
	if err := c.RunnableNow(); err != nil {
		return nil, nil, configs.Secrets{}, failf(exitUsage, "%v", err)
	}
	secrets, err := c.LoadSecrets(self)
	if err != nil {
		return nil, nil, configs.Secrets{}, failf(exitUsage, "%v", err)
	}
	return c, self, secrets, nil
}

// newLogger returns a logger that waits for nobody who reads w, and what writes for it.
func newLogger(c configs.Log, node string, w io.Writer) (*slog.Logger, *logWriter) {
	level := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[c.Level]
	to := func(w io.Writer, level slog.Level) *slog.Logger {
		o := &slog.HandlerOptions{Level: level}
		if c.Format == "json" {
			return slog.New(slog.NewJSONHandler(w, o)).With("node", node)
		}
		return slog.New(slog.NewTextHandler(w, o)).With("node", node)
	}
	out := newLogWriter(w, logBacklog, func(lines uint64) []byte {
		var b bytes.Buffer
		to(&b, slog.LevelWarn).Warn("log.dropped", "lines", lines) // whatever log.level says: they may be errors
		return b.Bytes()
	})
	return to(out, level), out
}

// gcPercent lets the heap of a few megabytes grow to three times itself between two
// collections: at rest they would be a good part of this process's work.
const gcPercent = 200

func cmdRun(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "run", "[--config FILE]")
	if err := parse(f, args); err != nil {
		return err
	}
	c, self, secrets, err := runnable(*path)
	if err != nil {
		return err
	}
	program, err := thisProgram()
	if err != nil {
		return err
	}
	stderr := e.stderr
	openLog := func() (*slog.Logger, *logWriter) {
		log, out := newLogger(c.Log, self.Name, stderr)
		e.stderr, e.flush = out, func() { out.close(flushTimeout) } // the last word must not wait either
		return log, out
	}
	log, out := openLog()
	for _, w := range c.Warnings {
		log.Warn("config", "warning", w.Error())
	}
	if err := os.MkdirAll(c.StateDir, 0o750); err != nil {
		return err
	}
	notify, err := sdnotify.New(os.Getenv)
	if err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGUSR2)
	defer signal.Stop(signals)
	// Without this, the end of whoever reads the log would be ours. Ignored it would stay
	// ignored in hooks.
	brokenPipe := make(chan os.Signal, 1)
	signal.Notify(brokenPipe, syscall.SIGPIPE)
	defer signal.Stop(brokenPipe)
	node, err := supervisor.New(ctx, c, self, secrets, supervisor.Options{
		Version: version, Log: log, LogDropped: out.dropped.Load, Alive: watchdog(notify),
		Successor: func(ctx context.Context) (string, error) { return program.accepts(ctx, *path) },
	})
	if err != nil {
		return err
	}
	if err := notify.Ready(); err != nil {
		log.Warn("sdnotify", "error", err)
	}
	err = node.Run(ctx, signals)
	err = errors.Join(err, node.Close())
	if node.Upgrading() && !endOrdered(signals) {
		if err != nil { // as after a restart: what did not end in good order is gone with this program
			log.Warn("upgrade.exec", "error", err)
		}
		err = program.takeOver(e, func() *slog.Logger { log, _ := openLog(); return log })
	}
	return err
}

// watchdog returns what feeds systemd's watchdog from the loop: after a step, at most four
// times in its interval. A failure to tell is not worth a word: the manager ends us for it.
func watchdog(n *sdnotify.Notifier) func() {
	interval := n.WatchdogInterval() / 4
	if interval == 0 {
		return nil
	}
	var last time.Time
	return func() {
		if at := time.Now(); at.Sub(last) >= interval {
			last = at
			_ = n.Watchdog()
		}
	}
}

func cmdVersion(_ context.Context, e *env, args []string) error {
	f, _ := flags(e, "version", "")
	if err := parse(f, args); err != nil {
		return err
	}
	_, err := fmt.Fprintln(e.stdout, "highwater", version)
	return err
}
