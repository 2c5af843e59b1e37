// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"highwater/supervisor/control"
	"highwater/supervisor/web"
)

// client reaches the supervisor that this configuration belongs to.
func client(path string) (*control.Client, error) {
	c, _, err := load(path)
	if err != nil {
		return nil, err
	}
	return control.NewClient(c.StateDir), nil
}

// reached turns a missing supervisor into its exit code.
func reached(err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		return failf(exitUnreachable, "%v", control.ErrNotRunning)
	}
	return err
}

// order gives an order to the local supervisor and shows its progress.
func order(ctx context.Context, e *env, path, name string, args map[string]string) error {
	c, err := client(path)
	if err != nil {
		return err
	}
	result, err := c.Do(ctx, control.Command{Name: name, Args: args}, func(ev control.Event) {
		fmt.Fprintln(e.stdout, ev.Text)
	})
	if err != nil {
		return reached(err)
	}
	if result.Code != exitDone {
		return failf(result.Code, "%s", result.Text)
	}
	_, err = fmt.Fprintln(e.stdout, result.Text)
	return err
}

func cmdStop(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "stop", "[--config FILE]\n\nHands over if a successor is ready; else releases the VIP, makes the server read-only and says so.")
	if err := parse(f, args); err != nil {
		return err
	}
	return order(ctx, e, *path, "stop", nil)
}

func cmdFailover(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "failover", "[--config FILE] [--accept-loss] [--yes]\n\nLets this host stand although hosts are missing or no primary was heard.\nWith durability: best-effort, what only the missing hosts hold is lost. With lossless nobody is promoted who may\nlack an acknowledged transaction, unless you add --accept-loss, which says first how much that may be.")
	yes := f.Bool("yes", false, "do not ask; it never implies --accept-loss")
	loss := f.Bool("accept-loss", false, "let acknowledged transactions be lost that nobody who answers holds")
	if err := parse(f, args); err != nil {
		return err
	}
	name, word := "failover", "failover"
	if *loss {
		name, word = "failover-accept-loss", "accept loss"
		if err := order(ctx, e, *path, "assess-loss", nil); err != nil {
			return err
		}
	}
	if *yes {
		return order(ctx, e, *path, name, nil)
	}
	if !*loss {
		fmt.Fprintln(e.stdout, "With durability: lossless this is refused rather than lose what was acknowledged. With best-effort, transactions that\nonly missing hosts hold will be lost.")
	}
	if err := confirm(e, word); err != nil {
		return err
	}
	return order(ctx, e, *path, name, nil)
}

// confirm has a person type a word.
func confirm(e *env, word string) error {
	fmt.Fprintf(e.stdout, "Type %q to go on: ", word)
	line, err := bufio.NewReader(e.stdin).ReadString('\n')
	if strings.TrimSpace(line) != word {
		return failf(exitRefused, "not confirmed (--yes goes on without asking)")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func cmdRejoin(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "rejoin", "--rebuild [--config FILE]\n\nA clean server rejoins by itself. With --rebuild this host's data are replaced by a copy of the primary's;\ntransactions that only this host has are saved in state_dir first.")
	rebuild := f.Bool("rebuild", false, "copy the primary's data (CLONE plugin)")
	if err := parse(f, args); err != nil {
		return err
	}
	if !*rebuild {
		return failf(exitUsage, "a clean server rejoins by itself; to replace this host's data by the primary's, add --rebuild")
	}
	return order(ctx, e, *path, "rebuild", nil)
}

// watchPause is how often `status --watch` redraws.
const watchPause = time.Second

func cmdStatus(ctx context.Context, e *env, args []string) error {
	f, path := flags(e, "status", "[--config FILE] [--json] [--watch]")
	asJSON := f.Bool("json", false, "print the status document")
	watch := f.Bool("watch", false, "redraw each second")
	if err := parse(f, args); err != nil {
		return err
	}
	c, err := client(*path)
	if err != nil {
		return err
	}
	for {
		document, err := c.Status(ctx)
		if err != nil {
			return reached(err)
		}
		if *watch && !*asJSON {
			fmt.Fprint(e.stdout, "\x1b[H\x1b[2J")
		}
		if err := show(e, document, *asJSON); err != nil || !*watch {
			return err
		}
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
			return nil
		}
	}
}

func show(e *env, document json.RawMessage, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(e.stdout, "%s\n", document)
		return err
	}
	var s web.Status
	if err := json.Unmarshal(document, &s); err != nil {
		return fmt.Errorf("decode status: %w", err)
	}
	return s.Table(e.stdout, colored(e.stdout))
}

// colored reports whether w is a terminal that wants colours (no-color.org).
func colored(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
