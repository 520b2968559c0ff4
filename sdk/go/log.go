package watchkeeper

import (
	"fmt"
	"strings"
)

// Level is how much a line of the log matters.
type Level uint8

const (
	LevelTrace Level = iota
	LevelDebug
	LevelInfo
	LevelWarn
	LevelError
)

// Log writes one line, up to 4 KiB, to the host's log under the plugin's name; in tests to the standard error.
func Log(level Level, format string, args ...any) {
	logLine(level, strings.ToValidUTF8(fmt.Sprintf(format, args...), "\ufffd"))
}
