//go:build wasip1

package watchkeeper

import "unsafe"

//go:wasmimport watchkeeper:plugin/logging@0.1.0 log
func hostLog(level uint32, text unsafe.Pointer, length uint32)

func logLine(level Level, line string) {
	hostLog(uint32(level), unsafe.Pointer(unsafe.StringData(line)), uint32(len(line)))
}
