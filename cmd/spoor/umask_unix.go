//go:build unix

package main

import "syscall"

// privateFiles keeps what this process and its gateway make from everybody but
// their user: some of the libraries below make files for everybody to read.
func privateFiles() { syscall.Umask(0o077) }
