// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// readReplication puts the state of the default channel into the probe's
// memory. Where the server does not tell, the last state stays, with its age.
func (p *Probe) readReplication(ctx context.Context, onMain bool, s *Sample) {
	if !onMain {
		s.ReplicationFailure = Classify(errInFlight)
		return
	}
	var read replicationRow
	if err := p.main.do(ctx, read.read); err != nil {
		s.ReplicationFailure = Classify(err)
		return
	}
	received, err := p.received.set(s.Version, read.received)
	if err != nil {
		s.ReplicationFailure = Failure{Class: Answered, Reason: ReasonProbeFailed, Text: "parse the received set: " + err.Error()}
		return
	}
	now := p.cfg.Now()
	r := read.Replication
	r.Received = received
	r.EventAge = p.events.age(now, r, read.progress)
	p.replication, p.replicationAt = r, now
}

// replicationRow is what one reading of StmtReplication returns: all but what
// needs memory.
type replicationRow struct {
	Replication
	received string
	// progress changes whenever something arrives from the source.
	progress string
}

func (r *replicationRow) read(ctx context.Context, s *session) error {
	text, ok := s.version.SQL(StmtReplication)
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnsupported, s.version.Raw)
	}
	rows, err := s.QueryContext(ctx, text)
	if err != nil {
		return fmt.Errorf("read the replication state: %w", err)
	}
	defer rows.Close()
	if s.version.Flavor == MariaDB {
		err = r.scanMariaDB(rows)
	} else {
		err = r.scanMySQL(rows)
	}
	if err == nil {
		err = rows.Err()
	}
	if err != nil {
		return fmt.Errorf("read the replication state: %w", err)
	}
	return nil
}

// age is a nullable number of microseconds.
func age(us sql.NullInt64) Age {
	// A clock that was set back makes the past look like the future.
	return Age{Value: max(0, time.Duration(us.Int64)) * time.Microsecond, Known: us.Valid}
}

// scanMySQL reads the one row, if there is one.
func (r *replicationRow) scanMySQL(rows *sql.Rows) error {
	if !rows.Next() {
		return nil
	}
	var (
		autoPosition, receiver, applier              string
		heartbeatPeriod                              float64
		heartbeat, queued, queueing, queuedImmediate sql.NullInt64
		relayBytes                                   sql.NullInt64
		delay                                        int64
		coordinatorNumber, workerNumber              sql.NullInt64
		coordinatorText, workerText                  sql.NullString
		applyingOriginal, applyingImmediate          sql.NullInt64
		appliedOriginal, appliedImmediate            sql.NullInt64
	)
	if err := rows.Scan(&r.SourceHost, &r.SourcePort, &autoPosition, &heartbeatPeriod,
		&receiver, &r.SourceUUID, &r.Receiver.ErrorNumber, &r.Receiver.Error, &r.received,
		&heartbeat, &queued, &queueing, &relayBytes, &queuedImmediate,
		&applier, &delay, &coordinatorNumber, &coordinatorText,
		&workerNumber, &workerText, &applyingOriginal, &applyingImmediate, &appliedOriginal, &appliedImmediate,
		&r.ExtraChannels); err != nil {
		return err
	}
	r.Configured = r.SourceHost != ""
	r.AutoPosition = autoPosition == "1"
	r.HeartbeatPeriod = time.Duration(heartbeatPeriod * float64(time.Second))
	r.Receiver.State = serviceState(receiver)
	r.Applier.State = serviceState(applier)
	r.Delay = time.Duration(delay) * time.Second
	// The worker says what went wrong, the coordinator that a worker did.
	r.Applier.ErrorNumber, r.Applier.Error = uint32(workerNumber.Int64), workerText.String
	if r.Applier.ErrorNumber == 0 {
		r.Applier.ErrorNumber, r.Applier.Error = uint32(coordinatorNumber.Int64), coordinatorText.String
	}
	r.QueuedAge, r.QueuedImmediate = age(queued), age(queuedImmediate)
	r.ApplyingOriginal, r.ApplyingImmediate = age(applyingOriginal), age(applyingImmediate)
	r.AppliedOriginal, r.AppliedImmediate = age(appliedOriginal), age(appliedImmediate)

	// While a transaction arrives there are no heartbeats: of these, the
	// youngest is the last sign of life.
	for _, a := range []Age{age(heartbeat), age(queued), age(queueing)} {
		if a.Known && (!r.EventAge.Known || a.Value < r.EventAge.Value) {
			r.EventAge = a
		}
	}
	// A long transaction shows only in the growing relay log.
	r.progress = strconv.FormatInt(relayBytes.Int64, 10)
	return nil
}

// serviceState reads SERVICE_STATE.
func serviceState(s string) ThreadState {
	switch s {
	case "ON":
		return ThreadRunning
	case "CONNECTING":
		return ThreadConnecting
	case "OFF":
		return ThreadStopped
	default:
		return ThreadUnknown
	}
}

// mariaFilters are the columns that say that not everything is replicated.
var mariaFilters = []string{
	"Replicate_Do_DB", "Replicate_Ignore_DB", "Replicate_Do_Table", "Replicate_Ignore_Table",
	"Replicate_Wild_Do_Table", "Replicate_Wild_Ignore_Table", "Replicate_Rewrite_DB",
	"Replicate_Ignore_Server_Ids", "Replicate_Do_Domain_Ids", "Replicate_Ignore_Domain_Ids",
}

// scanMariaDB reads the rows of SHOW ALL SLAVES STATUS by column name, as its
// columns differ from release to release.
func (r *replicationRow) scanMariaDB(rows *sql.Rows) error {
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]sql.RawBytes, len(names))
	targets := make([]any, len(names))
	for i := range values {
		targets[i] = &values[i]
	}
	column := func(name string) string {
		if i := slices.Index(names, name); i >= 0 {
			return string(values[i])
		}
		return ""
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		if column("Connection_name") != "" {
			r.ExtraChannels++
			continue
		}
		r.fromColumns(column)
	}
	return nil
}

// fromColumns reads one row.
func (r *replicationRow) fromColumns(column func(string) string) {
	number := func(name string) uint64 {
		n, err := strconv.ParseUint(column(name), 10, 64)
		if err != nil {
			return 0 // NULL, or a column that this release does not have
		}
		return n
	}
	r.SourceHost = column("Master_Host")
	r.SourcePort = uint16(number("Master_Port"))
	r.Configured = r.SourceHost != ""
	if id := column("Master_Server_Id"); id != "0" {
		r.SourceUUID = id
	}
	r.AutoPosition = column("Using_Gtid") != "No"
	if period, err := strconv.ParseFloat(column("Slave_heartbeat_period"), 64); err == nil {
		r.HeartbeatPeriod = time.Duration(period * float64(time.Second))
	}
	r.Receiver = Thread{slaveState(column("Slave_IO_Running")), uint32(number("Last_IO_Errno")), column("Last_IO_Error")}
	r.Applier = Thread{slaveState(column("Slave_SQL_Running")), uint32(number("Last_SQL_Errno")), column("Last_SQL_Error")}
	r.received = column("Gtid_IO_Pos")
	r.Delay = time.Duration(number("SQL_Delay")) * time.Second
	if behind, err := strconv.ParseUint(column("Seconds_Behind_Master"), 10, 32); err == nil {
		r.SecondsBehind = Age{Value: time.Duration(behind) * time.Second, Known: true}
	}
	for _, name := range mariaFilters {
		if rule := column(name); rule != "" {
			r.Filters = append(r.Filters, name+"="+rule)
		}
	}
	r.progress = strings.Join([]string{
		column("Slave_received_heartbeats"), column("Master_Log_File"), column("Read_Master_Log_Pos"), r.received,
	}, " ")
}

// slaveState reads Slave_IO_Running and Slave_SQL_Running.
func slaveState(s string) ThreadState {
	switch s {
	case "Yes":
		return ThreadRunning
	case "Connecting", "Preparing":
		return ThreadConnecting
	case "No":
		return ThreadStopped
	default:
		return ThreadUnknown
	}
}

// eventClock dates the last sign of life from the source by our own clock, from
// counters that move.
type eventClock struct {
	progress string
	started  time.Duration // first look; 0: none yet
	looked   time.Duration // last look
	changed  time.Duration // 0: not yet
}

// age returns the age of the last sign of life: the younger of what the server
// says itself and of the last change of progress.
func (e *eventClock) age(now time.Duration, r Replication, progress string) Age {
	switch {
	case r.Receiver.State != ThreadRunning:
		// The counters are reset when it starts again; that is no event.
		e.progress = progress
	case e.started == 0:
		e.started, e.progress = now, progress
	case progress != e.progress && r.EventAge.Known:
		// The server dates what it has received whole. This is for the rest of a long
		// transaction, and says no more than that it came after the last look: a
		// source that died just after that must not seem to have lived until now.
		e.progress, e.changed = progress, e.looked
	case progress != e.progress:
		e.progress, e.changed = progress, now
	}
	e.looked = now
	seen := Age{}
	switch watched := now - e.started; {
	case e.changed != 0:
		seen = Age{Value: now - e.changed, Known: true}
	case e.started != 0 && r.HeartbeatPeriod > 0 && watched > 2*r.HeartbeatPeriod:
		seen = Age{Value: watched, Known: true} // at least
	}
	if r.EventAge.Known && (!seen.Known || r.EventAge.Value < seen.Value || e.changed == 0) {
		return r.EventAge
	}
	return seen
}
