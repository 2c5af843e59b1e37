// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
)

func readFrames(stream []byte) (frames [][][]byte, err error) {
	r := bufio.NewReader(bytes.NewReader(stream))
	for {
		messages, err := readRaftFrame(r)
		if err != nil {
			return frames, err
		}
		frames = append(frames, messages)
	}
}

func sameMessages(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func TestRaftFrames(t *testing.T) {
	want := [][][]byte{
		{[]byte("a")},
		{[]byte("b"), bytes.Repeat([]byte("c"), 300), []byte("d")},
		{make([]byte, MaxRaftMessage)},
		slices.Repeat([][]byte{[]byte("x")}, maxRaftBatch),
	}
	var stream []byte
	for _, messages := range want {
		before := len(stream)
		stream = appendRaftFrame(stream, messages)
		size := raftHeader
		for _, m := range messages {
			size += raftSize(m)
		}
		if len(stream)-before != size {
			t.Errorf("frame of %d bytes, expected %d", len(stream)-before, size)
		}
	}
	got, err := readFrames(stream)
	if err != io.EOF || !slices.EqualFunc(got, want, sameMessages) {
		t.Errorf("read %d frames, %v", len(got), err)
	}
	// A stream that ends inside a frame is not one that ends.
	for _, cut := range []int{1, 4, raftHeader, raftHeader + 1} {
		if _, err := readFrames(stream[:cut]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

func TestBadRaftFrames(t *testing.T) {
	frame := func(version byte, length uint32, body ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{version}, length), body...)
	}
	for name, c := range map[string]struct {
		stream []byte
		reason Reason
	}{
		"version 0":         {frame(0, 2, 1, 'a'), ReasonBadMessage},
		"version 2":         {frame(2, 2, 1, 'a'), ReasonBadMessage},
		"HTTP":              {[]byte("HTTP/1.1 200 OK\r\n"), ReasonBadMessage},
		"too long":          {frame(1, maxRaftFrame+1), ReasonTooLarge},
		"very long":         {frame(1, 1<<32-1), ReasonTooLarge},
		"empty":             {frame(1, 0), ReasonBadMessage},
		"empty message":     {frame(1, 3, 1, 'a', 0), ReasonBadMessage},
		"message too long":  {frame(1, 2, 2, 'a'), ReasonBadMessage},
		"length has no end": {frame(1, 2, 0x80, 0x80), ReasonBadMessage},
		"length overflows":  {frame(1, 11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1), ReasonBadMessage},
		"too many messages": {appendRaftFrame(nil, slices.Repeat([][]byte{{1}}, maxRaftBatch+1)), ReasonBadMessage},
	} {
		if frames, err := readFrames(c.stream); len(frames) > 0 || ReasonOf(err) != c.reason {
			t.Errorf("%s: %d frames, %v", name, len(frames), err)
		}
	}
}

func FuzzRaftFrame(f *testing.F) {
	f.Add(appendRaftFrame(nil, [][]byte{[]byte("a"), []byte("bc")}))
	f.Add(appendRaftFrame(appendRaftFrame(nil, [][]byte{[]byte("a")}), [][]byte{bytes.Repeat([]byte("c"), 200)}))
	f.Add([]byte{raftVersion, 0, 0, 0, 2, 2, 'a'})
	f.Fuzz(func(t *testing.T, stream []byte) {
		frames, err := readFrames(stream)
		if err == nil {
			t.Fatal("a stream without an end")
		}
		var again []byte
		for _, messages := range frames {
			for _, m := range messages {
				if len(m) == 0 || len(m) > maxRaftFrame {
					t.Fatalf("message of %d bytes", len(m))
				}
			}
			again = appendRaftFrame(again, messages)
		}
		got, err := readFrames(again)
		if err != io.EOF || !slices.EqualFunc(got, frames, sameMessages) {
			t.Fatalf("own encoding is read as %d frames of %d, %v", len(got), len(frames), err)
		}
		// Lengths need not be written in the shortest way, so the encoding may differ, but is never longer.
		if len(again) > len(stream) {
			t.Fatalf("%d bytes became %d", len(stream), len(again))
		}
	})
}
