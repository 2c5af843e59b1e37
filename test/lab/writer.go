// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"
)

// WriterConfig says how the clients behave. The zero value is a good application.
type WriterConfig struct {
	// Address is where they write: VIP, port MySQLPort, by default.
	Address netip.AddrPort
	// Clients is their number, by default 4; Pause is what each waits after an acknowledgement, by default 5 ms.
	Clients int
	Pause   time.Duration
	// ConnectTimeout bounds one attempt to connect, by default 100 ms: below the second after which a lost SYN is
	// sent again. Timeout bounds one commit, and the handshake, by default 1 s.
	ConnectTimeout, Timeout time.Duration
	// Retry is the pause between two attempts to connect, by default 5 ms.
	Retry time.Duration
	// Account is App by default.
	Account Account
}

// A Writer is a number of clients on one host that insert rows, each row once, and remember what they were told. A
// client that gets any error drops its connection, counts the row as of unknown fate, and goes on with the next.
type Writer struct {
	config WriterConfig
	host   *Host
	driver driver.Connector
	cancel context.CancelFunc
	done   sync.WaitGroup
	first  chan struct{} // closed at the first acknowledgement

	mu     sync.Mutex
	record Record
}

// now is a reading of CLOCK_BOOTTIME, which all hosts share.
func now() time.Duration {
	var ts unix.Timespec
	// Cannot fail: the clock is there on every supported kernel.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// StartWriter starts clients on the host; Bootstrap has made their table.
func (h *Host) StartWriter(c WriterConfig) (*Writer, error) {
	if !c.Address.IsValid() {
		c.Address = netip.AddrPortFrom(VIP, MySQLPort)
	}
	if c.Clients == 0 {
		c.Clients = 4
	}
	if c.Account == (Account{}) {
		c.Account = App
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&c.Pause, 5 * time.Millisecond},
		{&c.ConnectTimeout, 100 * time.Millisecond},
		{&c.Timeout, time.Second},
		{&c.Retry, 5 * time.Millisecond},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = c.Account.User, c.Account.Password, Database
	config.Net, config.Addr = "tcp", c.Address.String()
	config.Timeout = c.Timeout
	config.ReadTimeout, config.WriteTimeout = c.Timeout, c.Timeout
	config.InterpolateParams = true // one round trip for a row
	config.CheckConnLiveness = false
	config.Logger = &mysql.NopLogger{} // errors are counted, not printed
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
		defer cancel()
		return h.Dial(ctx, network, addr)
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("start writer: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writer{config: c, host: h, driver: connector, cancel: cancel, first: make(chan struct{})}
	w.record.Started = now()
	// Writers that follow one another share the table: each client's number is new.
	w.record.clients = int(h.lab.clients.Add(int64(c.Clients)))
	w.record.firstClient = w.record.clients - c.Clients
	for client := w.record.firstClient; client < w.record.clients; client++ {
		w.done.Go(func() { w.write(ctx, client) })
	}
	return w, nil
}

// WaitAcknowledged waits for the first acknowledgement.
func (w *Writer) WaitAcknowledged(ctx context.Context) error {
	select {
	case <-w.first:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the first acknowledged row: %w (last error: %w)", ctx.Err(), w.Record().LastError)
	}
}

// Stop ends the clients and returns what they remember.
func (w *Writer) Stop() *Record {
	w.cancel()
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.record.Ended == 0 {
		w.record.Ended = now()
	}
	return w.copyRecord()
}

// Record is a copy of what the clients remember so far.
func (w *Writer) Record() *Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.copyRecord()
	if r.Ended == 0 {
		r.Ended = now()
	}
	return r
}

func (w *Writer) copyRecord() *Record {
	r := w.record
	r.Acks = append([]Ack(nil), r.Acks...)
	r.Unknown = append([]Row(nil), r.Unknown...)
	return &r
}

// write is one client.
func (w *Writer) write(ctx context.Context, client int) {
	row := Row{Client: client}
	for ctx.Err() == nil {
		if err := w.session(ctx, &row); err != nil && ctx.Err() == nil {
			w.mu.Lock()
			w.record.Errors++
			w.record.LastError = err
			w.mu.Unlock()
			pause(ctx, w.config.Retry)
		}
	}
}

// session connects and writes until something fails.
func (w *Writer) session(ctx context.Context, row *Row) error {
	conn, err := w.driver.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	server, err := w.hostname(ctx, conn)
	if err != nil {
		return err
	}
	insert := conn.(driver.ExecerContext)
	for ctx.Err() == nil {
		row.Seq++
		ack := Ack{Row: *row, Server: server, Sent: now()}
		_, err := insert.ExecContext(ctx, "INSERT INTO writes (client, seq, host) VALUES (?, ?, @@hostname)", []driver.NamedValue{
			{Ordinal: 1, Value: int64(row.Client)}, {Ordinal: 2, Value: row.Seq},
		})
		ack.Acked = now()
		w.note(ack, err)
		if err != nil {
			return err
		}
		pause(ctx, w.config.Pause)
	}
	return nil
}

// note remembers the answer to one row.
func (w *Writer) note(ack Ack, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var refused *mysql.MySQLError
	switch {
	case err == nil:
		if w.record.Acks == nil {
			close(w.first)
		}
		w.record.Acks = append(w.record.Acks, ack)
	case errors.As(err, &refused) && (refused.Number == errReadOnly || refused.Number == errReadOnlyMode):
		// The server says that it did not write.
	default:
		w.record.Unknown = append(w.record.Unknown, ack.Row)
	}
}

// Error numbers of MySQL and MariaDB: the server runs with --read-only, or is in read-only mode.
const (
	errReadOnly     = 1290
	errReadOnlyMode = 1836
)

// hostname asks who the server is.
func (w *Writer) hostname(ctx context.Context, conn driver.Conn) (string, error) {
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, "SELECT @@hostname", nil)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	value := make([]driver.Value, 1)
	if err := rows.Next(value); err != nil {
		return "", err
	}
	switch name := value[0].(type) {
	case []byte:
		return string(name), nil
	case string:
		return name, nil
	default:
		return "", errors.New("the hostname is " + strconv.Quote(fmt.Sprint(name)))
	}
}

// pause sleeps unless the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
