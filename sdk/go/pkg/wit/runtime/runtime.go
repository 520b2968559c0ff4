// Package runtime gives generated bindings the memory in which values cross the border of the component. It stands in for
// the package of that name in go.bytecodealliance.org/pkg, so that a build needs no module proxy.
package runtime

import (
	"runtime"
	"unsafe"
)

// early is what cabi_realloc hands out before Go's own runtime has begun: the adapter of WASI asks for its page by then.
var early [4 << 16]byte
var earlyUsed uintptr

var begun bool

func init() { begun = true }

// held are the buffers that nobody in Go points to yet. Go's collector moves nothing, so to be reachable is enough.
var held [][]uint64

// Allocate makes a buffer that lives until the pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	buffer := unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	pinner.Pin(buffer)
	return buffer
}

// Unpin lets go of what the host handed over, once Go's values point to it.
func Unpin() {
	clear(held)
	held = held[:0]
}

// No import may be called in here. The build sees to it that Go's scheduler and collector, which ask for the time, do not.
//
//go:wasmexport cabi_realloc
func reallocate(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if !begun {
		return allocateEarly(align, size)
	}
	buffer := make([]uint64, (size+7)/8+1)
	held = append(held, buffer)
	fresh := unsafe.Pointer(unsafe.SliceData(buffer))
	if old != nil {
		copy(unsafe.Slice((*byte)(fresh), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return fresh
}

func allocateEarly(align, size uintptr) unsafe.Pointer {
	base := uintptr(unsafe.Pointer(&early))
	from := (base+earlyUsed+align-1)&^(align-1) - base
	if from+size > uintptr(len(early)) {
		panic("more memory is asked for before the start than there is")
	}
	earlyUsed = from + size
	return unsafe.Pointer(&early[from])
}

// Handle is the number by which the host knows something of its own, such as a request; none once it was handed back.
type Handle struct{ number int32 }

func MakeHandle(number int32) *Handle { return &Handle{number} }

// Use answers the number, for a call that only borrows it.
func (h *Handle) Use() int32 {
	if h.number == 0 {
		panic("it was handed back to the host before")
	}
	return h.number
}

// Take answers the number for a call that takes it over.
func (h *Handle) Take() int32 {
	number := h.Use()
	h.number = 0
	return number
}

// TakeOrNil is as Take, and 0 where there is nothing to take.
func (h *Handle) TakeOrNil() int32 {
	number := h.number
	h.number = 0
	return number
}

// Set gives back what was taken.
func (h *Handle) Set(number int32) {
	if h.number != 0 {
		panic("it has a number")
	}
	h.number = number
}
