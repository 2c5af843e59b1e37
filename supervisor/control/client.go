// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrNotRunning is wrapped by errors of a [Client] when no supervisor answers on the socket.
var ErrNotRunning = errors.New("highwater does not run here")

// ErrInterrupted is wrapped by the error of [Client.Do] when the supervisor ended before the command's result. The command may have
// been carried out, in part or whole.
var ErrInterrupted = errors.New("the supervisor ended before the command did")

// maxReply bounds a status or a line of progress in bytes.
const maxReply = 16 << 20

// Client speaks to the supervisor that owns a state directory.
type Client struct {
	http *http.Client
}

// NewClient makes a client; it connects when used.
func NewClient(dir string) *Client {
	path := filepath.Join(dir, socketName)
	return &Client{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "unix", path)
			if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
			}
			return c, err
		},
	}}}
}

// Status returns the status document as JSON.
func (c *Client) Status(ctx context.Context) (json.RawMessage, error) {
	r, err := c.request(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return nil, fmt.Errorf("ask for status: %w", err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReply+1))
	if err == nil && len(body) > maxReply {
		err = fmt.Errorf("reply exceeds %d bytes", maxReply)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for status: %w", err)
	}
	return body, nil
}

// Do gives an order, calls progress for each event, and returns the result. An error says that there was no result; what the command
// came to is in the result's code.
func (c *Client) Do(ctx context.Context, command Command, progress func(Event)) (Result, error) {
	body, err := json.Marshal(command)
	if err != nil {
		return Result{}, fmt.Errorf("encode command: %w", err)
	}
	r, err := c.request(ctx, http.MethodPost, "/v1/command", body)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		err = ErrInterrupted
	}
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", command.Name, err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, maxReply)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return Result{}, fmt.Errorf("%s: decode reply: %w", command.Name, err)
		}
		switch {
		case l.Result != nil:
			return *l.Result, nil
		case l.Event != nil && progress != nil:
			progress(*l.Event)
		}
	}
	if ctx.Err() != nil {
		return Result{}, fmt.Errorf("%s: %w", command.Name, ctx.Err())
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return Result{}, fmt.Errorf("%s: read reply: %w", command.Name, err)
	}
	return Result{}, fmt.Errorf("%s: %w", command.Name, ErrInterrupted)
}

// request returns a reply of status 200, or an error with the server's words.
func (c *Client) request(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://highwater"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		defer r.Body.Close()
		text, err := io.ReadAll(io.LimitReader(r.Body, 4<<10))
		if err != nil {
			return nil, err
		}
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	return r, nil
}
