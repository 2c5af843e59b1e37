// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest configuration file that is read, in bytes.
const MaxSize = 1 << 20

// Load reads, parses and validates the file at path. What is wrong inside the
// file is returned as [Errors].
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close() // only read: nothing is lost with the error
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse parses and validates data; name stands for the file in messages. The
// error is always [Errors].
func Parse(name string, data []byte) (*Config, error) {
	root, bad := parseTree(data)
	if bad != nil {
		bad.File = name
		return nil, Errors{*bad}
	}
	c := Default()
	c.File = name
	errs, unread := c.decode(root)
	c.resolve()
	errs = append(errs, c.validate(unread)...)
	errs.sort()
	Errors(c.Warnings).sort()
	if err := errs.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// parseTree returns the root mapping of the only document in data. After a
// syntax error nothing further can be said, so there is at most one.
func parseTree(data []byte) (*yaml.Node, *Error) {
	if bad := checkText(data); bad != nil {
		return nil, bad
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, emptyFile()
	case err != nil:
		return nil, syntaxError(data, err)
	}
	root := doc.Content[0]
	if root.ShortTag() == "!!null" {
		return nil, emptyFile()
	}
	if root.Kind != yaml.MappingNode {
		return nil, &Error{
			Line: root.Line, Column: root.Column,
			What:    "the file is " + kindName(root) + ", not a mapping",
			Instead: "begin with keys such as cluster: and election:",
		}
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
		return root, nil
	case err != nil:
		return nil, syntaxError(data, err)
	}
	return nil, &Error{
		Line: second.Line, Column: second.Column,
		What:    "a second document begins here, and would be ignored",
		Instead: "keep one document: remove the --- line and what does not belong",
	}
}

func emptyFile() *Error {
	return &Error{Line: 1, Column: 1, What: "the file is empty", Instead: "start from example.yaml"}
}

// checkText refuses what YAML parsers disagree on, before one sees it.
func checkText(data []byte) *Error {
	if len(data) > MaxSize {
		return &Error{
			Line: 1, Column: 1,
			What:    fmt.Sprintf("the file is larger than %d bytes", MaxSize),
			Instead: "check that it is the configuration file",
		}
	}
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(data, []byte(mark)) {
			return &Error{
				Line: 1, Column: 1,
				What:    "the file begins with a byte order mark",
				Instead: "save it as UTF-8 without one",
			}
		}
	}
	line, column, indent := 1, 1, true
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		at := func(what, instead string) *Error {
			return &Error{Line: line, Column: column, What: what, Instead: instead}
		}
		switch {
		case r == utf8.RuneError && size == 1:
			return at(fmt.Sprintf("byte 0x%02x is not UTF-8", data[0]), "save the file as UTF-8")
		case r == '\t' && indent:
			return at("a tab indents this line", "indent with spaces")
		case r == '\r' && (len(data) < 2 || data[1] != '\n'):
			return at("a carriage return stands alone", "end lines with a line feed")
		case r != '\n' && r != '\r' && r != '\t' && r < ' ', r == 0x7f, r >= 0x80 && r < 0xa0, r == '\u2028', r == '\u2029':
			// 0x85, U+2028 and U+2029 break lines in YAML 1.1 and not in 1.2.
			return at(fmt.Sprintf("%U is a control character", r), "remove it")
		}
		switch {
		case r == '\n':
			line, column, indent = line+1, 1, true
		default:
			indent = indent && r == ' '
			column++
		}
		data = data[size:]
	}
	return nil
}

// yamlMessage splits the parser's messages: "yaml: line 3: what".
var yamlMessage = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxError places a message of the YAML parser. The parser names the line
// on which the surrounding construct began, or none at all, so the place is
// found again: it is in the first line from which on no longer part of the
// file is well-formed, and whose message is that of the whole file.
func syntaxError(data []byte, err error) *Error {
	line, what := splitMessage(err)
	if found := brokenLine(data, what); found > 0 {
		line = found
	}
	text := lineOf(data, line)
	column := 1 + len(text) - len(strings.TrimLeft(text, " "))
	if strings.HasPrefix(what, "unknown anchor") { // do not repeat its name: it may be a password
		what = "an alias (*name) to nothing"
	}
	return &Error{
		Line: line, Column: column, What: "not YAML: " + what,
		Instead: "look at this line and the one before: indentation, colons, brackets, quotes",
	}
}

// splitMessage returns the parser's line, at least 1, and what it says.
func splitMessage(err error) (line int, what string) {
	m := yamlMessage.FindStringSubmatch(strings.SplitN(err.Error(), "\n", 2)[0])
	line, _ = strconv.Atoi(m[1]) // empty when the parser names no line
	return max(line, 1), m[2]
}

// These bound the work of brokenLine, which is quadratic. A file of ours has
// fewer than a hundred lines.
const (
	searchedLines = 500
	searchedBytes = 32 << 10
)

// brokenLine returns the line, from 1, where the parser's message arises, and
// 0 when that is further down than it looks.
func brokenLine(data []byte, message string) int {
	found, end := 0, 0
	for n := 1; n <= searchedLines && end < min(len(data), searchedBytes); n++ {
		next := bytes.IndexByte(data[end:], '\n')
		if next < 0 {
			next = len(data) - end - 1
		}
		end += next + 1
		err := wellFormed(data[:end])
		if err == nil {
			found = 0
		} else if _, what := splitMessage(err); what == message && found == 0 {
			found = n
		}
	}
	return found
}

// wellFormed parses all documents in data.
func wellFormed(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// lineOf returns line n of data, counted from 1.
func lineOf(data []byte, n int) string {
	for ; n > 1; n-- {
		data = data[bytes.IndexByte(data, '\n')+1:]
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}

// kindName names what a node is, for messages.
func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
		return "a single value"
	}
}
