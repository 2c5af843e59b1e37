// SPDX-License-Identifier: Apache-2.0

// Package configs turns Highwater's YAML file into a typed, validated
// [Config], or says everything that is wrong with it at once: every [Error]
// has a line, a column, what is wrong and what to write instead.
//
// The file is read in four steps, in this order:
//
//   - syntax.go: bytes to one tree of yaml.Node. Encoding, tabs, a second
//     document and YAML's own errors are dealt with here.
//   - decode.go: the tree to a [Config], guided by the keys in schema.go and
//     the kinds of value in kinds.go, number.go and address.go. Unknown and
//     duplicate keys, anchors, and values outside their range end here.
//   - resolve.go: defaults that depend on other keys.
//   - validate.go and validate_server.go: combinations of keys that cannot
//     work, and warnings about those that can but surprise.
//
// The package is strict because a file that is half understood is worse than
// one that is refused: nothing is ignored, reset or guessed. A key is added in
// three places: a field in config.go (with its default in [Default]), a line in
// schema.go, and a paragraph in reference.yaml and docs/configuration.md; tests
// fail when one is forgotten.
//
// Passwords are not part of the file. It names files or environment variables,
// and [Config.LoadSecrets] reads them into a [Secret], which prints as
// "<secret>" wherever it is printed.
//
// highwater.yaml is a complete production file, example.yaml the one to start
// from, and reference.yaml explains every key.
package configs
