// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"time"
)

// Exit codes of the command line, and codes of a [Result] (docs/design.md §7).
const (
	CodeDone        = 0
	CodeFailed      = 1
	CodeUsage       = 2
	CodeRefused     = 3 // for safety; the text says why
	CodeUnreachable = 4
)

// Command is an order to the local supervisor.
type Command struct {
	Name string            `json:"name"`
	Args map[string]string `json:"args,omitempty"`
}

// Event is progress of a command under way.
type Event struct {
	At   time.Time       `json:"at"` // wall clock; set by the server when zero
	Text string          `json:"text"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Result ends a command.
type Result struct {
	Code int             `json:"code"`
	Text string          `json:"text"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Caller is the process at the other end of the socket, SO_PEERCRED of unix(7).
type Caller struct {
	PID int32
	UID uint32
	GID uint32
}

// line is one line of the reply to a command: events, then exactly one result.
type line struct {
	Event  *Event  `json:"event,omitempty"`
	Result *Result `json:"result,omitempty"`
}
