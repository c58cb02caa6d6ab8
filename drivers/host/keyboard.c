/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The controller translates to scan code set 1, and the mouse's port is off. The keyboard's lights are left alone.
 */
#include "drivers/host/keyboard.h"
#include "arch/x86/cpu.h"

#define PORT_DATA            0x60u
#define PORT_STATUS          0x64u /* commands, when written */
#define STATUS_OUTPUT        0x01u /* a byte can be read */
#define STATUS_INPUT         0x02u /* the last byte written has not been taken yet */
#define STATUS_AUXILIARY     0x20u /* the byte is the mouse's */
#define COMMAND_READ_BYTE    0x20u
#define COMMAND_WRITE_BYTE   0x60u
#define COMMAND_MOUSE_OFF    0xa7u
#define COMMAND_OFF          0xadu
#define COMMAND_ON           0xaeu
#define BYTE_INTERRUPT       0x01u
#define BYTE_MOUSE_INTERRUPT 0x02u
#define BYTE_OFF             0x10u
#define BYTE_MOUSE_OFF       0x20u
#define BYTE_TRANSLATE       0x40u

#define POLLS     20000u /* a read takes about 1 us; there are five waits */
#define OLD_BYTES 32u    /* that may wait at the beginning */

#define CODE_EXTENDED    0xe0u
#define CODE_PAUSE       0xe1u
#define CODE_RELEASED    0x80u
#define CODE_CONTROL     0x1du
#define CODE_LEFT_SHIFT  0x2au
#define CODE_RIGHT_SHIFT 0x36u
#define CODE_CAPS_LOCK   0x3au
#define CODE_KEYPAD      0x47u

static const char plain[] = "\0\33"
                            "1234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\33"
                              "!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
static const char keypad[] = "789-456+1230.";
/* Behind ESC [, from CODE_KEYPAD on: Home, Up, Page Up, Left, Right, End, Down, Page Down, Insert, Delete. */
static const char movements[13] = {'H', 'A', '5', 0, 'D', 0, 'C', 0, 'F', 'B', '6', '2', '3'};

/* ---- keys ---- */

static void hold(u8 *held, u8 bit, bool down)
{
    *held = (u8)(down ? *held | bit : *held & ~bit);
}

static u32 movement(u8 final, char out[KEYBOARD_KEY_BYTES])
{
    out[0] = '\33';
    out[1] = '[';
    out[2] = (char) final;
    out[3] = '~';
    return final <= '9' ? 4 : 3;
}

static u32 extended_key(struct keyboard *k, u8 code, bool down, char out[KEYBOARD_KEY_BYTES])
{
    u8 at = (u8)(code - CODE_KEYPAD);

    if (code == CODE_CONTROL)
        hold(&k->controls, 2, down);
    if (!down)
        return 0;
    if (at < sizeof movements && movements[at])
        return movement((u8)movements[at], out);
    out[0] = code == 0x1c ? '\r' : '/';
    return code == 0x1c || code == 0x35; /* the keypad's Enter and slash */
}

static u32 character(const struct keyboard *k, u8 code, char out[KEYBOARD_KEY_BYTES])
{
    char c = 0;

    if (code < sizeof plain - 1) {
        bool letter = plain[code] >= 'a' && plain[code] <= 'z';
        c = !k->shifts == !(letter && k->caps_lock) ? plain[code] : shifted[code];
    } else if (code >= CODE_KEYPAD && code < CODE_KEYPAD + sizeof keypad - 1) {
        c = keypad[code - CODE_KEYPAD];
    }
    if (!c)
        return 0;
    if (k->controls && c >= '@' && c <= '~')
        c &= 0x1f;
    out[0] = k->controls && c == ' ' ? 0 : c;
    return 1;
}

u32 keyboard_decode(struct keyboard *k, u8 code, char out[KEYBOARD_KEY_BYTES])
{
    bool extended = k->extended, down = !(code & CODE_RELEASED);

    k->extended = code == CODE_EXTENDED;
    if (k->skip) {
        k->skip--;
        return 0;
    }
    if (code == CODE_PAUSE)
        k->skip = 2;
    if (code == CODE_PAUSE || code == CODE_EXTENDED)
        return 0;
    code &= 0x7f;
    if (extended)
        return extended_key(k, code, down, out);
    if (code == CODE_LEFT_SHIFT)
        hold(&k->shifts, 1, down);
    else if (code == CODE_RIGHT_SHIFT)
        hold(&k->shifts, 2, down);
    else if (code == CODE_CONTROL)
        hold(&k->controls, 1, down);
    else if (code == CODE_CAPS_LOCK && down)
        k->caps_lock = !k->caps_lock;
    return down ? character(k, code, out) : 0;
}

/* ---- the controller ---- */

static bool wait_for(u8 bit, bool set)
{
    for (u32 polls = 0; polls < POLLS; polls++)
        if (!(port_in8(PORT_STATUS) & bit) == !set)
            return true;
    return false;
}

static COLD bool command(u8 code)
{
    if (!wait_for(STATUS_INPUT, false))
        return false;
    port_out8(PORT_STATUS, code);
    return true;
}

static void forget_old_bytes(void)
{
    for (u32 i = 0; i < OLD_BYTES && port_in8(PORT_STATUS) & STATUS_OUTPUT; i++)
        (void)port_in8(PORT_DATA);
}

bool keyboard_init(void)
{
    if (port_in8(PORT_STATUS) == 0xff || !command(COMMAND_OFF) || !command(COMMAND_MOUSE_OFF))
        return false;
    forget_old_bytes();
    if (!command(COMMAND_READ_BYTE) || !wait_for(STATUS_OUTPUT, true))
        return false;
    u8 byte = port_in8(PORT_DATA) & (u8) ~(BYTE_MOUSE_INTERRUPT | BYTE_OFF);
    if (!command(COMMAND_WRITE_BYTE) || !wait_for(STATUS_INPUT, false))
        return false;
    port_out8(PORT_DATA, byte | BYTE_INTERRUPT | BYTE_MOUSE_OFF | BYTE_TRANSLATE);
    return command(COMMAND_ON);
}

int keyboard_receive(void)
{
    for (u32 i = 0; i < OLD_BYTES; i++) {
        u8 status = port_in8(PORT_STATUS);
        if (!(status & STATUS_OUTPUT))
            return -1;
        u8 byte = port_in8(PORT_DATA);
        if (!(status & STATUS_AUXILIARY))
            return byte;
    }
    return -1;
}
