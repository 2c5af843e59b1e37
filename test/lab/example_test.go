// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"highwater/test/lab"
)

// A primary that crashes, seen by clients of the VIP.
func Example() {
	ctx := context.Background()
	l, err := lab.New(ctx, lab.Config{Hosts: 3, Flavor: lab.MySQL, SemiSync: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	if err := l.Bootstrap(ctx); err != nil {
		fmt.Println(err)
		return
	}
	primary := l.Host("db1")
	if err := primary.AddAddress(netip.PrefixFrom(lab.VIP, 32)); err != nil {
		fmt.Println(err)
		return
	}
	writer, err := l.Client().StartWriter(lab.WriterConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	time.Sleep(time.Second)
	primary.Server.Kill()
	record := writer.Stop()
	difference, err := record.Verify(ctx, l.Host("db2").Server)
	fmt.Println(record.Outage().Duration(), record.Terms(), difference, err)
}
