// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// A raft stream is frames, one after another:
//
//	version  1 byte, raftVersion
//	length   4 bytes, big endian: of what follows
//	messages each a length (unsigned varint) and so many bytes; at least one message, none of them empty
const (
	raftVersion = 1
	raftHeader  = 5
)

const (
	// MaxRaftMessage bounds one raft message in bytes; a snapshot is one message.
	MaxRaftMessage = 1 << 20
	// maxRaftFrame bounds the part of a frame behind its header, in bytes: the longest message fits.
	maxRaftFrame = MaxRaftMessage + binary.MaxVarintLen32
	// maxRaftBatch bounds the messages of a frame. More are only ever waiting after an outage.
	maxRaftBatch = 256
)

// appendRaftFrame appends one frame. The caller has seen to the bounds.
func appendRaftFrame(b []byte, messages [][]byte) []byte {
	start := len(b)
	b = append(b, raftVersion, 0, 0, 0, 0)
	for _, m := range messages {
		b = binary.AppendUvarint(b, uint64(len(m)))
		b = append(b, m...)
	}
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-raftHeader))
	return b
}

// raftSize is how much a message takes in a frame.
func raftSize(m []byte) int {
	return len(binary.AppendUvarint(nil, uint64(len(m)))) + len(m)
}

// readRaftFrame reads one frame. The messages are the caller's to keep. It returns io.EOF at the end of the stream between two frames.
func readRaftFrame(r *bufio.Reader) ([][]byte, error) {
	var header [raftHeader]byte
	if _, err := io.ReadFull(r, header[:1]); err != nil {
		return nil, err
	}
	if header[0] != raftVersion {
		return nil, refuse(ReasonBadMessage, "raft frame of version %d", header[0])
	}
	if _, err := io.ReadFull(r, header[1:]); err != nil {
		return nil, cutShort(err)
	}
	length := binary.BigEndian.Uint32(header[1:])
	if length > maxRaftFrame {
		return nil, refuse(ReasonTooLarge, "raft frame of %d bytes", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, cutShort(err)
	}
	return splitRaftFrame(body)
}

// splitRaftFrame returns the messages of a frame, which share its memory.
func splitRaftFrame(body []byte) ([][]byte, error) {
	var messages [][]byte
	for len(body) > 0 {
		length, n := binary.Uvarint(body)
		if n <= 0 || length == 0 || length > uint64(len(body)-n) {
			return nil, refuse(ReasonBadMessage, "raft message of %d bytes with %d left in its frame", length, len(body))
		}
		if len(messages) == maxRaftBatch {
			return nil, refuse(ReasonBadMessage, "more than %d raft messages in a frame", maxRaftBatch)
		}
		end := n + int(length)
		messages = append(messages, body[n:end:end])
		body = body[end:]
	}
	if len(messages) == 0 {
		return nil, refuse(ReasonBadMessage, "raft frame without a message")
	}
	return messages, nil
}

func cutShort(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read raft frame: %w", err)
}
