// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

// Receiver states in [Position].
const (
	ReceiverRunning    = "running"
	ReceiverConnecting = "connecting"
	ReceiverStopped    = "stopped" // also without any channel
)

// channel is the default replication channel.
type channel struct {
	host, user, sourceUUID string
	port                   uint16
	receiver               string // one of the Receiver states
	receiverError          ErrReceiver
	applierRunning         bool
	applierError           ErrApplier
	applierState           string
	autoPosition           bool
	tls                    bool
	connectRetry           time.Duration
	retryCount             uint64 // MySQL only
	heartbeat              time.Duration
	delay                  time.Duration
	received               gtid.Set // MySQL: since the channel's last reset
	row                    map[string]string
}

// channel reads the default channel; nil means that there is none.
func (c *session) channel(ctx context.Context) (*channel, error) {
	table, err := c.table(ctx, mysqlcheck.StmtChannel)
	if err != nil {
		return nil, err
	}
	for _, row := range table {
		if row["Connection_name"] != "" {
			continue
		}
		return parseChannel(row)
	}
	return nil, nil
}

// parseChannel reads a row of SHOW REPLICA STATUS or SHOW ALL SLAVES STATUS.
func parseChannel(row map[string]string) (*channel, error) {
	get := func(name string) string {
		if v, ok := row[name]; ok {
			return v
		}
		return row[strings.NewReplacer("Source", "Master", "Replica", "Slave").Replace(name)]
	}
	var damage error
	number := func(name string, bits int) uint64 {
		text := get(name)
		if text == "" || text == "NULL" {
			return 0
		}
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			damage = errors.Join(damage, fmt.Errorf("%s: %w", name, err))
		}
		return n
	}
	ch := &channel{
		host:           get("Source_Host"),
		user:           get("Source_User"),
		sourceUUID:     get("Source_UUID"),
		port:           uint16(number("Source_Port", 16)),
		receiver:       ReceiverStopped,
		receiverError:  ErrReceiver{uint16(number("Last_IO_Errno", 16)), get("Last_IO_Error")},
		applierRunning: get("Replica_SQL_Running") == "Yes",
		applierError:   ErrApplier{uint16(number("Last_SQL_Errno", 16)), get("Last_SQL_Error")},
		applierState:   get("Replica_SQL_Running_State"),
		autoPosition:   get("Auto_Position") == "1" || get("Using_Gtid") == "Slave_Pos",
		tls:            get("Source_SSL_Allowed") == "Yes",
		connectRetry:   time.Duration(number("Connect_Retry", 32)) * time.Second,
		retryCount:     number("Source_Retry_Count", 64),
		delay:          time.Duration(number("SQL_Delay", 32)) * time.Second,
		row:            row,
	}
	switch get("Replica_IO_Running") {
	case "Yes":
		ch.receiver = ReceiverRunning
	case "Connecting", "Preparing":
		ch.receiver = ReceiverConnecting
	}
	if text := get("Replica_heartbeat_period"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		ch.heartbeat = time.Duration(seconds * float64(time.Second))
		damage = errors.Join(damage, err)
	}
	received := get("Retrieved_Gtid_Set")
	if received == "" {
		received = get("Gtid_IO_Pos")
	}
	var err error
	ch.received, err = gtid.Parse(received)
	if damage = errors.Join(damage, err); damage != nil {
		return nil, fmt.Errorf("read replica status: %w", damage)
	}
	return ch, nil
}

// Position is where a server stands: all of it in the server process of StartID,
// because it is read on one connection.
type Position struct {
	ServerUUID string // @@server_uuid; MariaDB: @@server_id
	StartID    string // identifies the server process, as mysqlcheck's Sample does
	// Executed is applied, Received is applied or in the relay log: it always
	// holds Executed. Purged is no longer in the binary log.
	Executed, Received, Purged gtid.Set
	// Writable says that clients could write: what it holds by now may be more.
	Writable bool
	// SourceUUID and ReceiverState are the default channel's.
	SourceUUID    string
	ReceiverState string
	// SourceEventAge is the time since the last event or heartbeat of the source;
	// MariaDB does not tell it.
	SourceEventAge   time.Duration
	SourceEventKnown bool
}

// Position reads where the server stands.
func (s *Server) Position(ctx context.Context) (Position, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return Position{}, fmt.Errorf("read position: %w", err)
	}
	defer c.close()
	p, _, err := c.position(ctx)
	return p, err
}

// position reads where the server stands, and its channel.
func (c *session) position(ctx context.Context) (Position, *channel, error) {
	p, ch, err := c.readPosition(ctx)
	if err != nil {
		return Position{}, nil, fmt.Errorf("read position: %w", err)
	}
	return p, ch, nil
}

func (c *session) readPosition(ctx context.Context) (Position, *channel, error) {
	// What was received is read before what was executed: a transaction on its
	// way from one to the other is then seen twice and not never.
	ch, err := c.channel(ctx)
	if err != nil {
		return Position{}, nil, err
	}
	p := Position{ReceiverState: ReceiverStopped}
	if ch != nil {
		p.SourceUUID, p.ReceiverState = ch.sourceUUID, ch.receiver
		if err := c.receiverSettings(ctx, ch, &p); err != nil {
			return Position{}, nil, err
		}
	}
	p.ServerUUID, p.StartID, err = mysqlcheck.Identity(ctx, c.conn, c.version)
	if err != nil {
		return Position{}, nil, err
	}
	st, err := c.state(ctx)
	if err != nil {
		return Position{}, nil, err
	}
	p.Executed, p.Purged, p.Received = st.executed, st.purged, st.executed
	p.Writable = st.writable
	if ch != nil {
		p.Received = p.Received.Union(ch.received)
	}
	if c.version.Flavor == mysqlcheck.MariaDB {
		p.Purged, err = c.purged(ctx)
	}
	return p, ch, err
}

// receiverSettings adds what MySQL tells outside of SHOW REPLICA STATUS.
func (c *session) receiverSettings(ctx context.Context, ch *channel, p *Position) error {
	if _, ok := c.version.SQL(mysqlcheck.StmtReceiver); !ok {
		return nil
	}
	var seconds float64
	var age sql.NullInt64
	err := c.queryRow(ctx, mysqlcheck.StmtReceiver, nil, &seconds, &age)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	ch.heartbeat = time.Duration(seconds * float64(time.Second))
	p.SourceEventAge, p.SourceEventKnown = max(0, time.Duration(age.Int64)*time.Microsecond), age.Valid
	return err
}

// state is what changes from one moment to the next.
type state struct {
	readOnly         bool // refuses the writes of everybody whom it can refuse
	writable         bool // refuses nobody's
	executed, purged gtid.Set
	replicaPosition  gtid.Set // MariaDB: gtid_slave_pos
}

// state reads read-only and the positions.
func (c *session) state(ctx context.Context) (state, error) {
	var readOnly, superReadOnly, offline any
	var executed, purged, applied string
	err := c.queryRow(ctx, mysqlcheck.StmtState, nil, &readOnly, &superReadOnly, &offline, &executed, &purged, &applied)
	if err != nil {
		return state{}, err
	}
	// super_read_only says ON from the moment that its SET begins, which may block for ever behind a commit that waits for
	// an acknowledgement; only when it has succeeded does read_only say so too (MySQL 9.7.4).
	st := state{readOnly: isOn(superReadOnly) && isOn(readOnly), writable: !isOn(readOnly)}
	if c.version.Flavor == mysqlcheck.MariaDB {
		st.readOnly = isOn(readOnly)
	}
	for _, set := range [...]struct {
		to   *gtid.Set
		text string
	}{{&st.executed, executed}, {&st.purged, purged}, {&st.replicaPosition, applied}} {
		if *set.to, err = gtid.Parse(set.text); err != nil {
			return state{}, fmt.Errorf("read state: %w", err)
		}
	}
	// On MariaDB what was applied and what was written here are two positions.
	st.executed = st.executed.Union(st.replicaPosition)
	return st, nil
}

// isOn reads a boolean variable, or MariaDB's read_only, which since 12.0 is
// one of OFF, ON, NO_LOCK and NO_LOCK_NO_ADMIN.
func isOn(v any) bool {
	text := fmt.Sprint(v)
	if b, ok := v.([]byte); ok {
		text = string(b)
	}
	return text != "0" && text != "OFF"
}

// purged returns where MariaDB's oldest binary log begins.
func (c *session) purged(ctx context.Context) (gtid.Set, error) {
	logs, err := c.binlogFiles(ctx)
	if err != nil || len(logs) == 0 {
		return gtid.Set{}, err
	}
	var start sql.NullString
	if err := c.queryRow(ctx, mysqlcheck.StmtBinaryLogStart, []any{logs[0]}, &start); err != nil {
		return gtid.Set{}, err
	}
	return gtid.Parse(start.String)
}

// binlogFiles lists the binary logs, oldest first.
func (c *session) binlogFiles(ctx context.Context) ([]string, error) {
	var files []string
	err := c.query(ctx, mysqlcheck.StmtBinlogFiles, nil, func(rows *sql.Rows) error {
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		var name string
		dest := []any{&name}
		for range columns[1:] {
			dest = append(dest, new(any))
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		files = append(files, name)
		return nil
	})
	return files, err
}
