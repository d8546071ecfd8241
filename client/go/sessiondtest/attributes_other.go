//go:build !linux

package sessiondtest

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
