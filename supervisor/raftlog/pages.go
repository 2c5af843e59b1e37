// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The format of a bbolt file, version 2, as far as it is verified here. Numbers are in the byte order of the host. A file is pages of
// pageSize bytes; pages 0 and 1 are metas, written in turn; each page or run of pages begins with a header.
const (
	pageSize   = 4096 // chosen, not the host's, so that every log looks the same
	pageHeader = 16   // id uint64, flags uint16, count uint16, overflow uint32 (further pages of this run)

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaSize    = 64 // the last 8 bytes are FNV-1a of those before

	elementSize  = 16 // of a branch: pos, ksize uint32, page uint64; of a leaf: flags, pos, ksize, vsize uint32
	bucketFlag   = 0x01
	bucketHeader = 16 // root uint64, sequence uint64; root 0: the page follows in line

	countInFirst = 0xFFFF // a freelist with this count has the true one in its first element
	maxDepth     = 32     // of a tree; each level at least doubles the number of pages
)

var order = binary.NativeEndian

// errVersion marks a file of another bbolt format, which is whole as far as one can tell.
var errVersion = errors.New("unknown file format")

// pageReader verifies the structure of a bbolt file and yields what is in it. bbolt maps a file and trusts it: a changed page number makes
// it run in circles, a changed length read beside the mapping, both beyond recovery. Here nothing is trusted, every page must be reached
// exactly once or be free, and nothing is mapped, so that a bad block is an error too.
type pageReader struct {
	file io.ReaderAt
	meta metaPage
	used []bool // pages reached, by number
	// visit is called for each record, in the order of buckets and keys. Key and value are the callee's.
	visit func(bucket string, key, value []byte) error
}

type metaPage struct {
	root     uint64 // page of the root bucket
	freelist uint64 // page
	end      uint64 // number of pages in use
	txid     uint64 // transaction
}

// readPages verifies a file of size bytes, calls visit for each record, and returns the number of the last transaction.
func readPages(file io.ReaderAt, size int64, visit func(bucket string, key, value []byte) error) (txid uint64, err error) {
	var metas [2]metaPage
	for i := range metas {
		if metas[i], err = readMeta(file, i); err != nil {
			return 0, fmt.Errorf("meta page %d: %w", i, err)
		}
	}
	newer := metas[0]
	if metas[1].txid > newer.txid {
		newer = metas[1]
	}
	if d := int64(metas[0].txid - metas[1].txid); d != 1 && d != -1 {
		return 0, fmt.Errorf("transactions %d and %d do not follow one another", metas[0].txid, metas[1].txid)
	}
	if newer.end > uint64(size)/pageSize {
		return 0, fmt.Errorf("file ends at byte %d, before page %d", size, newer.end-1)
	}
	r := &pageReader{file: file, meta: newer, used: make([]bool, newer.end), visit: visit}
	if err := r.tree(newer.root, "", nil, nil, 0); err != nil {
		return 0, err
	}
	if err := r.freelist(); err != nil {
		return 0, err
	}
	for id := uint64(2); id < newer.end; id++ {
		if !r.used[id] {
			return 0, fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return newer.txid, nil
}

func readMeta(file io.ReaderAt, id int) (m metaPage, err error) {
	var page [pageHeader + metaSize]byte
	if _, err := file.ReadAt(page[:], int64(id)*pageSize); err != nil {
		return m, noEOF(err)
	}
	if got := order.Uint64(page[:]); got != uint64(id) || order.Uint16(page[8:]) != flagMeta {
		return m, fmt.Errorf("header is that of page %d, flags %#x", got, order.Uint16(page[8:]))
	}
	meta := page[pageHeader:]
	h := fnv.New64a()
	h.Write(meta[:metaSize-8])
	switch {
	case order.Uint32(meta) != metaMagic:
		return m, errors.New("not a bbolt file")
	case order.Uint64(meta[metaSize-8:]) != h.Sum64():
		return m, errors.New("checksum differs")
	case order.Uint32(meta[4:]) != metaVersion:
		return m, fmt.Errorf("%w: bbolt version %d", errVersion, order.Uint32(meta[4:]))
	case order.Uint32(meta[8:]) != pageSize:
		return m, fmt.Errorf("%w: pages of %d bytes", errVersion, order.Uint32(meta[8:]))
	}
	return metaPage{
		root: order.Uint64(meta[16:]), freelist: order.Uint64(meta[32:]), end: order.Uint64(meta[40:]), txid: order.Uint64(meta[48:]),
	}, nil
}

// run reads a page with its overflow and marks all of it as used.
func (r *pageReader) run(id uint64) ([]byte, error) {
	if id < 2 || id >= r.meta.end {
		return nil, fmt.Errorf("page %d of %d", id, r.meta.end)
	}
	var header [pageHeader]byte
	if _, err := r.file.ReadAt(header[:], int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, noEOF(err))
	}
	if got := order.Uint64(header[:]); got != id {
		return nil, fmt.Errorf("page %d calls itself %d", id, got)
	}
	pages := uint64(order.Uint32(header[12:])) + 1
	if pages > r.meta.end-id {
		return nil, fmt.Errorf("page %d runs over %d pages of %d", id, pages, r.meta.end)
	}
	for i := id; i < id+pages; i++ {
		if err := r.use(i); err != nil {
			return nil, err
		}
	}
	run := make([]byte, pages*pageSize)
	if _, err := r.file.ReadAt(run, int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, noEOF(err))
	}
	return run, nil
}

func (r *pageReader) use(id uint64) error {
	if id < 2 || id >= r.meta.end {
		return fmt.Errorf("page %d of %d", id, r.meta.end)
	}
	if r.used[id] {
		return fmt.Errorf("page %d is used twice", id)
	}
	r.used[id] = true
	return nil
}

// tree verifies the tree below a page. Keys are at least low and, unless it is nil, less than high. Bucket is "" for the root.
func (r *pageReader) tree(id uint64, bucket string, low, high []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is too deep", id)
	}
	page, err := r.run(id)
	if err != nil {
		return err
	}
	switch flags := order.Uint16(page[8:]); flags {
	case flagLeaf:
		err = r.leaf(page, bucket, low, high)
	case flagBranch:
		err = r.branch(page, bucket, low, high, depth)
	default:
		err = fmt.Errorf("flags %#x", flags)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (r *pageReader) branch(page []byte, bucket string, low, high []byte, depth int) error {
	count := int(order.Uint16(page[10:]))
	if count == 0 || pageHeader+count*elementSize > len(page) {
		return fmt.Errorf("%d branches", count)
	}
	keys := make([][]byte, count+1)
	keys[count] = high
	for i := range count {
		at := pageHeader + i*elementSize
		key, err := span(page, at, order.Uint32(page[at:]), order.Uint32(page[at+4:]))
		if err != nil {
			return err
		}
		if keys[i], err = between(key, low, high); err != nil {
			return fmt.Errorf("branch %d: %w", i, err)
		}
		low = append(key[:len(key):len(key)], 0) // the least key that follows
	}
	for i := range count {
		child := order.Uint64(page[pageHeader+i*elementSize+8:])
		if err := r.tree(child, bucket, keys[i], keys[i+1], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *pageReader) leaf(page []byte, bucket string, low, high []byte) error {
	count := int(order.Uint16(page[10:]))
	if pageHeader+count*elementSize > len(page) {
		return fmt.Errorf("%d records", count)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		pos, ksize, vsize := order.Uint32(page[at+4:]), order.Uint32(page[at+8:]), order.Uint32(page[at+12:])
		key, err := span(page, at, pos, ksize)
		if err != nil {
			return err
		}
		if _, err = between(key, low, high); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		low = append(key[:len(key):len(key)], 0)
		value, err := span(page, at+int(ksize), pos, vsize)
		if err != nil {
			return err
		}
		switch flags := order.Uint32(page[at:]); {
		case flags == 0 && bucket != "":
			err = r.visit(bucket, bytes.Clone(key), bytes.Clone(value))
		case flags == bucketFlag && bucket == "":
			err = r.bucket(string(key), value)
		default:
			err = fmt.Errorf("record %d has flags %#x", i, flags)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *pageReader) bucket(name string, value []byte) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("bucket %q has %d bytes", name, len(value))
	}
	if root := order.Uint64(value); root != 0 {
		return r.tree(root, name, nil, nil, 0)
	}
	page := value[bucketHeader:]
	if len(page) < pageHeader || order.Uint16(page[8:]) != flagLeaf {
		return fmt.Errorf("bucket %q has no page", name)
	}
	return r.leaf(page, name, nil, nil)
}

func (r *pageReader) freelist() error {
	page, err := r.run(r.meta.freelist)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	ids := page[pageHeader:]
	count := uint64(order.Uint16(page[10:]))
	if count == countInFirst {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(page[8:]) != flagFreelist || count > uint64(len(ids)/8) {
		return fmt.Errorf("freelist: page %d: flags %#x, %d pages", r.meta.freelist, order.Uint16(page[8:]), count)
	}
	for i := range count {
		if err := r.use(order.Uint64(ids[i*8:])); err != nil {
			return fmt.Errorf("freelist: %w", err)
		}
	}
	return nil
}

// span is length bytes of page, pos behind the element at.
func span(page []byte, at int, pos, length uint32) ([]byte, error) {
	begin := uint64(at) + uint64(pos)
	end := begin + uint64(length)
	if begin > uint64(len(page)) || end > uint64(len(page)) {
		return nil, fmt.Errorf("bytes %d to %d of %d", begin, end, len(page))
	}
	return page[begin:end], nil
}

func between(key, low, high []byte) ([]byte, error) {
	if len(key) == 0 || bytes.Compare(key, low) < 0 || high != nil && bytes.Compare(key, high) >= 0 {
		return nil, fmt.Errorf("key %x is not between %x and %x", key, low, high)
	}
	return key, nil
}

// noEOF makes the end of a file an error like others.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
