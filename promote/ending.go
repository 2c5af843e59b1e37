// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

// Ending is how a run of the server process ended.
type Ending string

// The endings. That MySQL crashed, or was killed, means that commits which waited
// for an acknowledgement then were told to nobody; an orderly shutdown, also one
// that was cut short, tells the clients that they succeeded.
const (
	EndingUnknown Ending = "unknown"
	EndingCrash   Ending = "crash"
	EndingOrderly Ending = "orderly"
)

// RunEnding is how the run that wrote some transactions ended, and what says so.
type RunEnding struct {
	Ending Ending
	Detail string
}

// Ended finds out how the run of the server process ended that wrote the errant
// transactions. It is sure of a crash only if all of this holds:
//
//   - They are all in binary logs of the run before the present one, the last of
//     which has no Stop event. A shutdown that began may not have come so far.
//   - The error log has that run, and no word of a shutdown in it: MySQL logs that
//     before it lets go of any commit.
//   - That run was in this boot of the host. After a power cut the end of the error
//     log may be missing.
//
// MariaDB shows its error log to nobody, and nothing of it is known here.
func (s *Server) Ended(ctx context.Context, errant gtid.Set) (RunEnding, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return RunEnding{}, fmt.Errorf("find out how the server ended: %w", err)
	}
	defer c.close()
	ending, err := c.ended(ctx, errant)
	if err != nil {
		return RunEnding{}, fmt.Errorf("find out how the server ended: %w", err)
	}
	return ending, nil
}

func (c *session) ended(ctx context.Context, errant gtid.Set) (RunEnding, error) {
	if _, ok := c.version.SQL(mysqlcheck.StmtErrorLog); !ok {
		return RunEnding{EndingUnknown, c.version.String() + " does not show its error log"}, nil
	}
	p, _, err := c.position(ctx)
	if err != nil {
		return RunEnding{}, err
	}
	run, err := c.server.noteRun(p.StartID, func(r serverRun) uint64 { return r.Led })
	if err != nil {
		return RunEnding{}, err
	}
	if run.Before == "" {
		return RunEnding{EndingUnknown, "the server was not seen to run in this boot of the host before its present run"}, nil
	}
	files, err := c.binlogFiles(ctx)
	if err != nil {
		return RunEnding{}, err
	}
	logs := binlogs{files: files, before: func(i int) (gtid.Set, error) { return c.before(ctx, files[i]) }}
	logs.last = func(i int) (string, error) {
		last := ""
		err := c.logEvents(ctx, files[i], 1<<62, func(_ uint64, kind, _ string) error {
			last = kind
			return nil
		})
		return last, err
	}
	if ending, err := logs.ending(errant); err != nil || ending.Ending != EndingCrash {
		return ending, err
	}
	var log []logEntry
	err = c.query(ctx, mysqlcheck.StmtErrorLog, nil, func(rows *sql.Rows) error {
		var e logEntry
		if err := rows.Scan(&e.thread, &e.code); err != nil {
			return err
		}
		log = append(log, e)
		return nil
	})
	if err != nil {
		return RunEnding{}, err
	}
	return logEnding(log), nil
}

// binlogs are the binary logs of a server, oldest first; the server writes the
// last one.
type binlogs struct {
	files  []string
	before func(i int) (gtid.Set, error) // what the logs before it hold
	last   func(i int) (string, error)   // type of its last event
}

// ending tells how the run ended that wrote all of set, if that was the one before
// the present: each start of the server begins a new log, and within a run a log
// ends with a Rotate event.
func (b binlogs) ending(set gtid.Set) (RunEnding, error) {
	unknown := func(detail string) (RunEnding, error) { return RunEnding{EndingUnknown, detail}, nil }
	// The transactions are in logs first to end-1.
	first, end := -1, len(b.files)
	for i := range slices.Backward(b.files) {
		before, err := b.before(i)
		if err != nil {
			return RunEnding{}, err
		}
		if before.Contains(set) {
			end = i
		}
		if before.Intersect(set).IsEmpty() {
			first = i
			break
		}
	}
	if first < 0 || set.IsEmpty() {
		return unknown("the binary logs do not show where its transactions begin")
	}
	if end == len(b.files) {
		return unknown("its transactions are in the binary log that the server writes now")
	}
	runs := 0 // that ended, from the one that wrote them
	for i := first; i < len(b.files)-1; i++ {
		switch last, err := b.last(i); {
		case err != nil:
			return RunEnding{}, err
		case last == "Rotate":
		case runs > 0:
			return unknown("the server has run since then")
		case last == "Stop":
			return RunEnding{EndingOrderly, b.files[i] + " ends with a Stop event"}, nil
		case i+1 < end:
			return unknown("more than one run of the server wrote its transactions")
		default:
			runs++
		}
	}
	if runs == 0 {
		return unknown("the present run of the server wrote its transactions")
	}
	return RunEnding{EndingCrash, "its binary log has no Stop event"}, nil
}

// logEntry is an entry of the error log.
type logEntry struct {
	thread uint64
	code   string
}

// Codes of the error log.
var (
	// logStarts begin a run: "Server - start" in newer releases, and, a warning or
	// two later, "starting as process".
	logStarts = []string{"MY-015015", "MY-010116"}
	// logReady is "ready for connections": nobody was told of anything before.
	logReady = "MY-010931"
	// logShutdown are those of a shutdown, in the order in which they come.
	logShutdown = []string{
		"MY-013172", // Received SHUTDOWN
		"MY-011145", // SEMISYNC: Forced shutdown; clients are told from here on
		"MY-010909", // Forcing close of thread
		"MY-010910", // Shutdown complete
		"MY-015016", // Server - end
	}
)

// logRun is what the error log has of one start of the server.
type logRun struct {
	begun, ready, shutdown bool // its start, its readiness, its end are there
	threads                bool // something was logged by a thread other than the first
}

func logRuns(log []logEntry) []logRun {
	runs := []logRun{{}}
	for _, e := range log {
		if slices.Contains(logStarts, e.code) {
			runs = append(runs, logRun{begun: true})
		}
		r := &runs[len(runs)-1]
		r.ready = r.ready || e.code == logReady
		r.shutdown = r.shutdown || slices.Contains(logShutdown, e.code)
		r.threads = r.threads || e.thread != 0
	}
	return runs
}

// logEnding tells from the error log how the run before the present one ended. A
// start that came to nothing in between is no run.
func logEnding(log []logEntry) RunEnding {
	runs := logRuns(log)
	if present := runs[len(runs)-1]; !present.begun || !present.ready {
		return RunEnding{EndingUnknown, "the error log does not have the server's start"}
	}
	for _, r := range slices.Backward(runs[:len(runs)-1]) {
		switch {
		case r.begun && !r.ready:
		case r.shutdown:
			return RunEnding{EndingOrderly, "the error log has a shutdown"}
		case r.ready:
			return RunEnding{EndingCrash, "neither its binary log nor its error log has a shutdown"}
		case r.threads:
			// Rotated while it ran, and this is what it wrote then: a shutdown would
			// be here too.
			return RunEnding{EndingCrash, "neither its binary log nor the rest of its error log has a shutdown"}
		}
	}
	return RunEnding{EndingUnknown, "the error log has nothing of the run that wrote its transactions (was it rotated, or does it go to stderr?)"}
}
