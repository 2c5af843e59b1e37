// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var testMAC = net.HardwareAddr{0x02, 0x42, 0x0a, 0x4d, 0x00, 0x01}

// The bytes are written down field by field from RFC 826 and RFC 5227, and agree
// with what keepalived sends for the request.
func TestARPFrame(t *testing.T) {
	const ethernet = "ffffffffffff 02420a4d0001 0806"
	for _, tt := range []struct {
		name string
		op   uint16
		want string
	}{
		{"request", arpRequest, ethernet + "0001 0800 06 04 0001 02420a4d0001 0a4d0064 ffffffffffff 0a4d0064"},
		{"reply", arpReply, ethernet + "0001 0800 06 04 0002 02420a4d0001 0a4d0064 ffffffffffff 0a4d0064"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := appendARP(nil, tt.op, testMAC, netip.MustParseAddr("10.77.0.100"))
			checkFrame(t, got, tt.want, arpFrameLen)
		})
	}
}

// The checksums were computed by another program from RFC 4443 section 2.3.
func TestNAFrame(t *testing.T) {
	const (
		ethernet = "333300000001 02420a4d0001 86dd"
		header   = "60000000 0020 3a ff fd770000000000000000000000000100 ff020000000000000000000000000001"
		rest     = "fd770000000000000000000000000100 02 01 02420a4d0001"
	)
	for _, tt := range []struct {
		name   string
		router bool
		want   string
	}{
		{"host", false, ethernet + header + "88 00 4d20 20000000" + rest},
		{"router", true, ethernet + header + "88 00 cd1f a0000000" + rest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := appendNA(nil, testMAC, netip.MustParseAddr("fd77::100"), tt.router)
			checkFrame(t, got, tt.want, naFrameLen)
		})
	}
}

func checkFrame(t *testing.T, got []byte, want string, length int) {
	t.Helper()
	w, err := hex.DecodeString(strings.ReplaceAll(want, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, w) {
		t.Errorf("frame\n got %x\nwant %x", got, w)
	}
	if len(got) != length {
		t.Errorf("length %d, want %d", len(got), length)
	}
}

// A frame must not be allocated anew for each address.
func TestFramesDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, naFrameLen)
	v4, v6 := netip.MustParseAddr("10.77.0.100"), netip.MustParseAddr("fd77::100")
	if n := testing.AllocsPerRun(100, func() {
		appendARP(buf, arpReply, testMAC, v4)
		appendNA(buf, testMAC, v6, true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
