# SPDX-License-Identifier: BSD-2-Clause
"""What is broken in each dump, read off the SDM by hand: file, exit status, rules with their fields in this order."""
EXPECTED = (
    # Blocking by STI with RFLAGS.IF 0: 3C 26.3.1.5.
    ("kvm-a.txt", 0, [("BLOCKING_STI", "GUEST_INTERRUPTIBILITY")]),
    # Usable data segments of type 2, which lacks the accessed bit: 26.3.1.2.
    ("kvm-b.txt", 0, [("DATA_ACCESSED", "GUEST_ES_ACCESS"), ("DATA_ACCESSED", "GUEST_DS_ACCESS")]),
    # TR 10021H: not a busy TSS, unusable, not present, a limit above 1 MiB without G; vector 44H injected with IF 0.
    ("kvm-c.txt", 0, [("RFLAGS_IF", "GUEST_RFLAGS"), ("TR_TYPE", "GUEST_TR_ACCESS"),
                      ("TR_UNUSABLE", "GUEST_TR_ACCESS"), ("PRESENT", "GUEST_TR_ACCESS"),
                      ("LIMIT_HIGH", "GUEST_TR_ACCESS")]),
    # "hardware error 0x0": the hypervisor's own mistake; real mode with unrestricted guest, all as it must be.
    ("kvm-d.txt", 1, []),
    # Blocking by MOV SS, TF 1, BTF 0, and BS not pending: 26.3.1.5.
    ("xen-a.txt", 0, [("DEBUG_STEP", "GUEST_PENDING_DEBUG")]),
    # An MSR that could not be loaded, which Xen names: 26.4.
    ("xen-b.txt", 0, [("MSR_VALUE", "ENTRY_MSR_LOAD_ADDRESS")]),
)
