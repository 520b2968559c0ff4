module watchkeeper

go 1.25
