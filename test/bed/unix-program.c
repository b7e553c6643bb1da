/*
 * NAME.exe for Wine: runs the Unix program NAME, so that a Windows program finds an ssh.exe or a QEMU that works.
 * Arguments that contain paths with a drive letter get the paths that Unix programs know. Input is closed; output
 * arrives when the program has ended.
 *
 * A QEMU that runs a VM keeps this process, whose number it writes to its pid file as QEMU on Windows would. If this
 * process is killed, QEMU is killed too.
 *
 * Build: x86_64-w64-mingw32-gcc -municode -O1 -o NAME.exe unix-program.c
 */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int(CDECL *spawn_function)(char *const argv[], int wait);
typedef char *(CDECL *unix_name_function)(const WCHAR *path);

static char *to_utf8(const WCHAR *text) {
  int length = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
  char *result = malloc(length);
  WideCharToMultiByte(CP_UTF8, 0, text, -1, result, length, NULL, NULL);
  return result;
}


/* A text that grows. */
typedef struct {
  char *bytes;
  size_t length, size;
} Text;

static void append_bytes(Text *text, const char *bytes, size_t count) {
  if (text->length + count + 1 > text->size) text->bytes = realloc(text->bytes, text->size = 2 * (text->length + count + 1));
  memcpy(text->bytes + text->length, bytes, count);
  text->bytes[text->length += count] = 0;
}

static void append(Text *text, const char *more) { append_bytes(text, more, strlen(more)); }

/* Returns Wine's Unix path of a drive: /home/ada/.wine/dosdevices/c: */
static const char *drive_path(char letter) {
  static unix_name_function to_unix;
  if (!to_unix) to_unix = (unix_name_function)(void *)GetProcAddress(GetModuleHandleA("kernel32"), "wine_get_unix_file_name");
  WCHAR root[] = {letter, ':', '\\', 0};
  char *path = to_unix ? to_unix(root) : NULL;
  if (!path) return "";
  size_t length = strlen(path);
  if (length > 0 && path[length - 1] == '/') path[length - 1] = 0;
  return path;
}

static int is_drive(const char *at) {
  return ((at[0] | 32) >= 'a') && ((at[0] | 32) <= 'z') && at[1] == ':' && (at[2] == '\\' || at[2] == '/');
}

/* Returns an argument with Unix paths. A path that is a part of it ends at a comma, a quote or a space. */
static char *to_unix_argument(const char *argument) {
  Text result = {0};
  int whole = is_drive(argument);
  int in_path = 0;
  append(&result, "");
  for (const char *at = argument; *at; at++) {
    if (is_drive(at) && (at == argument || strchr("=:,'\" ", at[-1]))) {
      append(&result, drive_path(at[0]));
      at++;
      in_path = 1;
      continue;
    }
    if (!whole && strchr(",'\" ", *at)) in_path = 0;
    append_bytes(&result, in_path && *at == '\\' ? "/" : at, 1);
  }
  return result.bytes;
}

static void append_quoted(Text *text, const char *word) {
  append(text, "'");
  for (; *word; word++) {
    if (*word == '\'') append(text, "'\\''");
    else append_bytes(text, word, 1);
  }
  append(text, "'");
}

/* Copies what the Unix program wrote to a file of this process, and deletes that file. */
static void forward(const char *unix_file, DWORD standard_handle) {
  char path[512], buffer[65536];
  DWORD count, written;
  snprintf(path, sizeof path, "Z:%s", unix_file);
  HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
  if (file == INVALID_HANDLE_VALUE) return;
  while (ReadFile(file, buffer, sizeof buffer, &count, NULL) && count > 0)
    WriteFile(GetStdHandle(standard_handle), buffer, count, &written, NULL);
  CloseHandle(file);
  DeleteFileA(path);
}

static WCHAR *pid_file;

/* Writes this process's number to QEMU's pid file as soon as QEMU has written its own beside it. */
static DWORD WINAPI write_pid_file(void *qemu_pid_file) {
  while (GetFileAttributesW(qemu_pid_file) == INVALID_FILE_ATTRIBUTES) Sleep(20);
  FILE *file = _wfopen(pid_file, L"w");
  if (file) {
    fprintf(file, "%lu\n", GetCurrentProcessId());
    fclose(file);
  }
  return 0;
}

int wmain(int count, WCHAR **words) {
  WCHAR self[MAX_PATH], folder[MAX_PATH];
  GetModuleFileNameW(NULL, self, MAX_PATH);
  GetCurrentDirectoryW(MAX_PATH, folder);
  char *program = to_utf8(wcsrchr(self, '\\') + 1);
  char *extension = strrchr(program, '.');
  if (extension) *extension = 0;

  char base[64], file[80];
  snprintf(base, sizeof base, "/tmp/unix-program.%lu.%lu", GetCurrentProcessId(), GetTickCount());

  Text script = {0};
  append(&script, "unset LD_LIBRARY_PATH; cd ");
  append_quoted(&script, to_unix_argument(to_utf8(folder)));
  /* A ProxyCommand calls ssh.exe, which is a link to ssh in the first of these folders. */
  append(&script, " && PATH=\"$UNIX_PROGRAMS:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"; export PATH; ");
  append(&script, program);
  for (int index = 1; index < count; index++) {
    Text argument = {0};
    append(&argument, to_unix_argument(to_utf8(words[index])));
    if (!wcscmp(words[index - 1], L"-pidfile")) {
      pid_file = words[index];
      append(&argument, ".unix");
    }
    append(&script, " ");
    append_quoted(&script, argument.bytes);
  }
  append(&script, " </dev/null >");
  append(&script, base);
  append(&script, ".out 2>");
  append(&script, base);
  append(&script, ".err");
  if (pid_file)
    append(&script, " & program=$!; adapter=$PPID; (while case $(cut -d' ' -f3 /proc/$adapter/stat 2>/dev/null) in ''|Z) false;; esac; "
                    "do sleep 0.1; done; kill -9 $program) >/dev/null 2>&1 & watch=$!; wait $program");
  append(&script, "; status=$?; ");
  if (pid_file) append(&script, "kill $watch; ");
  append(&script, "echo $status >");
  append(&script, base);
  append(&script, ".status");

  if (pid_file) {
    WCHAR *qemu_pid_file = malloc((wcslen(pid_file) + 6) * sizeof *qemu_pid_file);
    wcscpy(qemu_pid_file, pid_file);
    wcscat(qemu_pid_file, L".unix");
    DeleteFileW(qemu_pid_file);
    CreateThread(NULL, 0, write_pid_file, qemu_pid_file, 0, NULL);
  }

  spawn_function spawn = (spawn_function)(void *)GetProcAddress(GetModuleHandleA("ntdll"), "__wine_unix_spawnvp");
  if (!spawn) {
    fprintf(stderr, "%s.exe runs only under Wine\n", program);
    return 126;
  }
  char *const argv[] = {"/bin/sh", "-c", script.bytes, NULL};
  spawn(argv, 1);

  if (pid_file) DeleteFileW(pid_file);
  snprintf(file, sizeof file, "%s.out", base);
  forward(file, STD_OUTPUT_HANDLE);
  snprintf(file, sizeof file, "%s.err", base);
  forward(file, STD_ERROR_HANDLE);
  int status = 126;
  snprintf(file, sizeof file, "Z:%s.status", base);
  FILE *result = fopen(file, "r");
  if (result) {
    if (fscanf(result, "%d", &status) != 1) status = 126;
    fclose(result);
    DeleteFileA(file);
  }
  return status;
}
