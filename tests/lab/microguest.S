# A whole guest in 2 KiB: no kernel, no packages, boots by translation in 0.1 s.  Apache-2.0, as the rest of restead.
#
# System disk:  sectors 0-3  this program
#               sector 8     marker text (56 bytes), mode letter at byte 63
#               sector 9     boot counter (u32), which the guest writes itself
#               sector 10    sequence number (u32); on the data disk as well
# On the first serial line it prints
#     MG-MARKER <text>
#     MG-BOOT <hex>
#     MG-DATA <CRC-32 of the data disk from sector 16 to its end, as zlib.crc32; "none" without a data disk>
#     MG-SEQ <system hex> <data hex>
#     MG-READY
# Modes: R  report, then power off
#        H  report, then idle; the power button turns it off (MG-POWERBUTTON)
#        W  report, then write a counter to the data disk, then to the system disk, over and over: at any true moment
#           system <= data <= system + 1
# Made for QEMU's machine "pc" with SeaBIOS.  Build: tests/lab/build_microguest
        .code16
        .globl _start
_start: ljmp $0,$1f
1:      xor %ax,%ax
        mov %ax,%ds
        mov %ax,%es
        mov %ax,%ss
        mov $0x7c00,%sp
        cld
        mov $serini,%si                 # 115200 8n1
2:      lodsw
        test %ax,%ax
        jz 3f
        mov %ax,%dx
        lodsb
        out %al,%dx
        jmp 2b
3:      mov $0x7e00,%di                 # load the rest of the program
        mov $1,%eax
        mov $3,%cx
        mov $0x80,%dl
        call rd
        jc bad
        jmp main
bad:    mov $s_bad,%si
        call puts
        jmp off

# rd/wr: eax=lba cx=count di=buffer(seg 0) dl=drive ; rds takes the buffer's segment in bx
rd:     xor %bx,%bx
rds:    mov $0x4200,%bp
        jmp io
wr:     xor %bx,%bx
        mov $0x4300,%bp
io:     mov %eax,dap+8
        mov %cx,dap+2
        mov %di,dap+4
        mov %bx,dap+6
        mov %bp,%ax
        mov $dap,%si
        int $0x13
        ret

putc:   push %dx
        push %ax
        mov $0x3fd,%dx
1:      in %dx,%al
        test $0x20,%al
        jz 1b
        pop %ax
        mov $0x3f8,%dx
        out %al,%dx
        pop %dx
        ret
puts:   lodsb
        test %al,%al
        jz 1f
        call putc
        jmp puts
1:      ret
hex:    mov $8,%cx                      # eax as 8 hex digits
1:      rol $4,%eax
        push %eax
        and $15,%al
        add $'0',%al
        cmp $'9',%al
        jbe 2f
        add $39,%al
2:      call putc
        pop %eax
        loop 1b
        ret
off:    mov $0x604,%dx
        mov $0x2000,%ax
        out %ax,%dx
        cli
        hlt

dap:    .word 16,0,0,0
        .long 0,0
serini: .word 0x3f9; .byte 0
        .word 0x3fb; .byte 0x80
        .word 0x3f8; .byte 1
        .word 0x3f9; .byte 0
        .word 0x3fb; .byte 3
        .word 0x3fa; .byte 7
        .word 0x3fc; .byte 3
        .word 0
s_bad:  .asciz "MG-FAIL read\r\n"
        .org 510
        .word 0xaa55

main:   mov $8,%eax
        mov $3,%cx
        mov $0x9000,%di
        mov $0x80,%dl
        call rd
        jc bad
        incl 0x9200                     # boot counter
        mov $9,%eax
        mov $1,%cx
        mov $0x9200,%di
        mov $0x80,%dl
        call wr
        mov $s_mark,%si
        call puts
        movb $0,0x9000+56
        mov $0x9000,%si
        call puts
        mov $s_boot,%si
        call puts
        mov 0x9200,%eax
        call hex
        # crc tables at 0xA000, four of them: so that four bytes are taken at a time
        xor %ebx,%ebx
        mov $0xa000,%di
1:      mov %ebx,%eax
        mov $8,%cx
2:      shr $1,%eax
        jnc 3f
        xor $0xedb88320,%eax
3:      loop 2b
        stosl
        inc %ebx
        cmp $256,%bx
        jne 1b
        mov $768,%cx                    # table n+1 from table n, by one more byte of zeroes
2:      mov -1024(%di),%eax
        movzbl %al,%ebx
        shr $8,%eax
        xor 0xa000(,%ebx,4),%eax
        stosl
        loop 2b
        mov $s_data,%si
        call puts
        mov $0x8f00,%si                 # size of drive 0x81
        movw $30,0x8f00
        mov $0x81,%dl
        mov $0x48,%ah
        int $0x13
        jc nodata
        mov 0x8f10,%eax                 # sectors (low 32)
        mov %eax,total
        movl $16,lba
        movl $0xffffffff,crc
4:      mov total,%ecx
        sub lba,%ecx
        jz 7f
        cmp $64,%ecx
        jbe 5f
        mov $64,%ecx
5:      push %cx
        mov lba,%eax
        mov $0x1000,%bx
        xor %di,%di
        mov $0x81,%dl
        call rds
        pop %cx
        jc nodata
        movzwl %cx,%ecx
        add %ecx,lba
        shl $9,%cx                      # bytes
        mov $0x1000,%ax
        mov %ax,%es
        xor %si,%si
        mov crc,%eax
6:      xor %es:(%si),%eax
        movzbl %al,%ebx
        mov 0xac00(,%ebx,4),%edx
        movzbl %ah,%ebx
        xor 0xa800(,%ebx,4),%edx
        shr $16,%eax
        movzbl %al,%ebx
        xor 0xa400(,%ebx,4),%edx
        movzbl %ah,%ebx
        xor 0xa000(,%ebx,4),%edx
        mov %edx,%eax
        add $4,%si
        sub $4,%cx
        jnz 6b
        mov %eax,crc
        xor %ax,%ax
        mov %ax,%es
        jmp 4b
7:      mov crc,%eax
        not %eax
        call hex
        mov $10,%eax
        mov $1,%cx
        mov $0x9600,%di
        mov $0x81,%dl
        call rd
        mov $s_seq,%si
        call puts
        mov 0x9400,%eax
        call hex
        mov $' ',%al
        call putc
        mov 0x9600,%eax
        call hex
8:      mov $s_rdy,%si
        call puts
        mov $0x602,%dx                  # arm the ACPI power button, keep its interrupt masked
        mov $0x100,%ax
        out %ax,%dx
        in $0xa1,%al
        or $2,%al
        out %al,$0xa1
        mov 0x9000+63,%al
        cmp $'R',%al
        je off
        cmp $'W',%al
        je writer
idle:   sti
        hlt
        call button
        jmp idle
button: mov $0x600,%dx
        in %dx,%ax
        test $1,%ah
        jz 1f
        mov $s_pwr,%si
        call puts
        jmp off
1:      ret
nodata: mov $s_nod,%si
        call puts
        jmp 8b
writer: mov 0x9400,%eax
        mov %eax,0x9600
1:      incl 0x9600
        mov $10,%eax
        mov $1,%cx
        mov $0x9600,%di
        mov $0x81,%dl
        call wr
        mov 0x9600,%eax
        mov %eax,0x9400
        mov $10,%eax
        mov $1,%cx
        mov $0x9400,%di
        mov $0x80,%dl
        call wr
        call button
        jmp 1b

s_mark: .asciz "\r\nMG-MARKER "
s_boot: .asciz "\r\nMG-BOOT "
s_data: .asciz "\r\nMG-DATA "
s_seq:  .asciz "\r\nMG-SEQ "
s_rdy:  .asciz "\r\nMG-READY\r\n"
s_nod:  .asciz "none"
s_pwr:  .asciz "MG-POWERBUTTON\r\n"
        .align 4
total:  .long 0
lba:    .long 0
crc:    .long 0
        .org 2048
