package sessiondtest

import "syscall"

// attributes make the daemon end when the test ends without having ended it: killed, or by a timeout.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
