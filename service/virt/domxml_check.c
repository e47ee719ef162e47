/*
 * What a definition may hold before any XML is built. The API has checked all this with better
 * words already; here is the last look, next to libvirt.
 */
#include "service/virt/domxml.h"

#include <string.h>

#include "service/base/str.h"
#include "service/virt/virt.h"

#define TEXT_MAX     65536
#define NAME_MAX_LEN 255
#define DISKS_MAX    16
#define BACKING_MAX  16
#define NICS_MAX     16
#define CHANNELS_MAX 16
#define SMBIOS_MAX   16

enum text_kind { TEXT_LINE, TEXT_LINES };

/* XML 1.0 cannot carry most control characters at all: refuse them by name. */
static int check_text(const char *pointer, const char *s, enum text_kind kind, size_t max,
                      struct error *err)
{
    size_t len = strlen(s);

    if (len > max)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "longer than %zu bytes", max);
    if (!str_is_utf8(s, len))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "not UTF-8");
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        bool space = *p == '\t' || *p == '\n' || *p == '\r';
        bool noncharacter = p[0] == 0xef && p[1] == 0xbf && (p[2] == 0xbe || p[2] == 0xbf);

        if ((*p < 0x20 && !(space && kind == TEXT_LINES)) || *p == 0x7f || noncharacter)
            return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                                "holds a control character that a definition cannot carry");
    }
    return 0;
}

static int check_path(const char *pointer, const char *path, struct error *err)
{
    if (!path || path[0] != '/')
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "not an absolute path");
    return check_text(pointer, path, TEXT_LINE, 4095, err);
}

static int check_word(const char *pointer, const char *s, const char *extra, size_t max,
                      struct error *err)
{
    size_t len = s ? strlen(s) : 0;

    if (len == 0 || len > max)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "empty or longer than %zu bytes",
                            max);
    for (size_t i = 0; i < len; i++) {
        bool alnum = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
                     (s[i] >= '0' && s[i] <= '9');

        if (!alnum && !strchr(extra, s[i]))
            return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                                "holds a character other than letters, digits and \"%s\"", extra);
    }
    return 0;
}

static int check_mac(const char *pointer, const char *mac, struct error *err)
{
    bool good = mac && strlen(mac) == 17;

    for (size_t i = 0; good && i < 17; i++)
        good = i % 3 == 2 ? mac[i] == ':' : strchr("0123456789abcdefABCDEF", mac[i]) != NULL;
    /* The lowest bit of the first byte means multicast; libvirt refuses it late. */
    if (!good || !strchr("02468aceACE", mac[1]))
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer, "not a unicast MAC address");
    return 0;
}

static int check_disk(const struct virt_disk *d, struct error *err)
{
    if (check_path("/disks", d->path, err))
        return -1;
    if (d->serial && check_word("/disks", d->serial, "-_.", 36, err))
        return -1;
    if (d->backing_count > BACKING_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/disks",
                            "more than %d files in a backing chain", BACKING_MAX);
    for (size_t i = 0; i < d->backing_count; i++) {
        if (check_path("/disks", d->backing[i].path, err))
            return -1;
    }
    return 0;
}

static int check_nic(const struct virt_nic *n, struct error *err)
{
    if (check_mac("/networks", n->mac, err))
        return -1;
    if (n->mode == VIRT_NIC_BRIDGE)
        return check_word("/networks", n->source, "-_.@", 15, err);
    if (n->mode == VIRT_NIC_NETWORK)
        return check_word("/networks", n->source, "-_.", NAME_MAX_LEN, err);
    return 0;
}

static int check_socket(const char *pointer, const char *path, struct error *err)
{
    if (!path)
        return 0;
    if (strlen(path) > VIRT_SOCKET_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, pointer,
                            "a socket's path has more than %d bytes", VIRT_SOCKET_MAX);
    return check_path(pointer, path, err);
}

static int check_lists(const struct virt_domain *d, struct error *err)
{
    if (d->disk_count > DISKS_MAX || d->nic_count > NICS_MAX || d->channel_count > CHANNELS_MAX ||
        d->smbios_oem_count > SMBIOS_MAX)
        return error_set(err, ERROR_VALIDATION_FAILED,
                         "more than %d disks, %d networks, %d channels or %d SMBIOS strings",
                         DISKS_MAX, NICS_MAX, CHANNELS_MAX, SMBIOS_MAX);
    for (size_t i = 0; i < d->disk_count; i++) {
        if (check_disk(&d->disks[i], err))
            return -1;
    }
    for (size_t i = 0; i < d->nic_count; i++) {
        if (check_nic(&d->nics[i], err))
            return -1;
    }
    for (size_t i = 0; i < d->channel_count; i++) {
        if (check_word("/channels", d->channels[i], "-_.", 64, err) ||
            (d->channel_sockets && check_socket("/channels", d->channel_sockets[i], err)))
            return -1;
        for (size_t j = 0; j < i; j++) {
            if (str_eq(d->channels[i], d->channels[j]))
                return error_set_at(err, ERROR_VALIDATION_FAILED, "/channels",
                                    "two channels have the same name");
        }
        if (d->guest_agent && str_eq(d->channels[i], "org.qemu.guest_agent.0"))
            return error_set_at(err, ERROR_VALIDATION_FAILED, "/channels",
                                "that name belongs to the guest agent");
    }
    for (size_t i = 0; i < d->smbios_oem_count; i++) {
        if (check_text("/smbios", d->smbios_oem[i], TEXT_LINES, TEXT_MAX, err))
            return -1;
    }
    return 0;
}

/* Plain ASCII comes back from every libvirt byte for byte. */
static int check_note(const char *note, struct error *err)
{
    size_t len = strlen(note);

    for (size_t i = 0; i < len; i++) {
        if (note[i] < 0x20 || note[i] > 0x7e)
            return error_set_at(err, ERROR_VALIDATION_FAILED, "/note", "not printable ASCII");
    }
    return len > VIRT_NOTE_MAX
               ? error_set_at(err, ERROR_VALIDATION_FAILED, "/note", "longer than %u bytes", VIRT_NOTE_MAX)
               : 0;
}

int domxml_check(const struct virt_domain *d, const char *install_id, struct error *err)
{
    if (!d->uuid || !uuid_is_valid(d->uuid))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/id", "not a UUID");
    if (check_word("/name", d->name, "-_.", NAME_MAX_LEN, err) ||
        check_word("/install", install_id, "-_.", 127, err) ||
        check_word("/machine", d->machine, "-_.", 63, err))
        return -1;
    if (str_eq(d->name, ".") || str_eq(d->name, "..") || d->name[0] == '-')
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/name", "not usable as a file name");
    if (d->description && check_text("/description", d->description, TEXT_LINES, TEXT_MAX, err))
        return -1;
    if (d->note && check_note(d->note, err))
        return -1;
    if (d->cpus < 1 || d->cpus > 4096)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/cpus", "not between 1 and 4096");
    if (d->memory_mib < 1 || d->memory_mib > UINT64_C(1) << 30)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/memory_mib", "not a possible size");
    if ((d->kernel && check_path("/image", d->kernel, err)) ||
        (d->initrd && check_path("/image", d->initrd, err)) ||
        (d->cmdline && check_text("/cmdline", d->cmdline, TEXT_LINE, 4095, err)))
        return -1;
    if (!d->kernel && (d->initrd || (d->cmdline && *d->cmdline)))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/cmdline",
                            "an initrd or a command line needs a kernel");
    /* CIDs 0 to 2 are the hypervisor, loopback and the host; all ones means "any". */
    if (d->vsock_cid && (d->vsock_cid < 3 || d->vsock_cid == UINT32_MAX))
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/vsock", "a reserved CID");
    if (check_socket("/serial_ports", d->console_socket, err) ||
        check_socket("/guest_agent", d->agent_socket, err))
        return -1;
    if (d->vnc_socket && *d->vnc_socket && check_socket("/display", d->vnc_socket, err))
        return -1;
    if (d->extra_serials > VIRT_SERIALS_MAX)
        return error_set_at(err, ERROR_VALIDATION_FAILED, "/serial_ports", "more than %d",
                            VIRT_SERIALS_MAX + 1);
    for (unsigned i = 0; d->serial_sockets && i < d->extra_serials; i++) {
        if (check_socket("/serial_ports", d->serial_sockets[i], err))
            return -1;
    }
    return check_lists(d, err);
}
