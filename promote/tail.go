// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

// saveTail writes the errant transactions of this server into a file of the
// state directory, and returns its path. A file that has them already stays as
// it is.
func (c *session) saveTail(ctx context.Context, errant gtid.Set, src Source) (string, error) {
	p, _, err := c.position(ctx)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("errant-%s-%d.sql", p.ServerUUID, src.Term)
	path := filepath.Join(c.server.cfg.StateDir, name)
	header := fmt.Sprintf("-- Transactions of %s (server %s) that %s, primary of term %d, does not have:\n-- %s\n",
		c.server.cfg.Node, p.ServerUUID, src.Node, src.Term, errant)
	if saved, err := startsWith(path, header); err != nil || saved {
		return path, err
	}
	logs, err := c.logsBeyond(ctx, src.Executed)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(c.server.cfg.StateDir, "."+name+".*")
	if err != nil {
		return "", err
	}
	if _, err = io.WriteString(f, header); err == nil {
		err = c.dump(ctx, f, logs, errant)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return path, syncDir(c.server.cfg.StateDir)
}

// listText begins a saved file that is a list of events only.
const listText = "-- This is a list of events and cannot be replayed: "

// replayable reports whether a saved file is SQL.
func replayable(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewReader(f)
	for range 2 { // the header
		if _, err := lines.ReadString('\n'); err != nil {
			return false, err
		}
	}
	line, err := lines.ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line != "" && !strings.HasPrefix(line, listText), err
}

// startsWith reports whether the file at path begins with text.
func startsWith(path, text string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // only read
	start := make([]byte, len(text))
	n, err := io.ReadFull(f, start)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return string(start[:n]) == text, err
}

// logsBeyond returns the binary logs that hold anything that is not in set,
// oldest first, and perhaps one more. Each log begins with what is in those
// before it.
func (c *session) logsBeyond(ctx context.Context, set gtid.Set) ([]string, error) {
	files, err := c.binlogFiles(ctx)
	if err != nil {
		return nil, err
	}
	for i, file := range slices.Backward(files) {
		before, err := c.before(ctx, file)
		if err != nil {
			return nil, err
		}
		if set.Contains(before) {
			return files[i:], nil
		}
	}
	return files, nil
}

// before returns what the binary logs before file hold.
func (c *session) before(ctx context.Context, file string) (gtid.Set, error) {
	var set gtid.Set
	err := c.logEvents(ctx, file, 4, func(_ uint64, kind, info string) error {
		if kind != "Previous_gtids" && kind != "Gtid_list" {
			return nil
		}
		var err error
		set, err = gtid.Parse(strings.Trim(info, "[]"))
		return err
	})
	return set, err
}

// logEvents calls scan for the first events of file.
func (c *session) logEvents(ctx context.Context, file string, limit uint64, scan func(pos uint64, kind, info string) error) error {
	return c.query(ctx, mysqlcheck.StmtBinlogEvents, []any{file, limit}, func(rows *sql.Rows) error {
		var log, kind, info string
		var pos, id, end uint64
		if err := rows.Scan(&log, &pos, &kind, &id, &end, &info); err != nil {
			return err
		}
		return scan(pos, kind, info)
	})
}

// dump writes the errant transactions of logs to f as SQL, or, where there is no
// program for that or it cannot read them, as a list of events.
func (c *session) dump(ctx context.Context, f *os.File, logs []string, errant gtid.Set) error {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	reason := c.dumpSQL(ctx, f, logs, errant)
	if reason == nil {
		return nil
	}
	if ctx.Err() != nil {
		return reason
	}
	if err := f.Truncate(at); err != nil {
		return err
	}
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "%s%s.\n-- The binary logs are as they were: %s\n",
		listText, strings.ReplaceAll(reason.Error(), "\n", " "), strings.Join(logs, " "))
	for _, log := range logs {
		err := c.logEvents(ctx, log, 1<<62, func(pos uint64, kind, info string) error {
			_, err := fmt.Fprintf(w, "-- %s\t%d\t%s\t%s\n", log, pos, kind, strings.ReplaceAll(info, "\n", " "))
			return err
		})
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// dumpSQL runs mysqlbinlog on the server's files. What it writes keeps its GTIDs:
// replayed at the new primary, it is errant no more. On MariaDB it is all
// of the logs, since the point at which histories parted is not known.
func (c *session) dumpSQL(ctx context.Context, f *os.File, logs []string, errant gtid.Set) error {
	program, args := c.server.cfg.BinlogProgram, []string{"--verbose"}
	if c.version.Flavor == mysqlcheck.MySQL {
		args = append(args, "--include-gtids="+errant.String())
	}
	if program == "" {
		name := "mysqlbinlog"
		if c.version.Flavor == mysqlcheck.MariaDB {
			name = "mariadb-binlog"
		}
		var err error
		if program, err = exec.LookPath(name); err != nil {
			return err
		}
	}
	var base string
	if err := c.queryRow(ctx, mysqlcheck.StmtBinlogBase, nil, &base); err != nil {
		return err
	}
	for _, log := range logs {
		args = append(args, filepath.Join(filepath.Dir(base), log))
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = f, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
