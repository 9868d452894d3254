#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_port.py: ports a made-up tree, in which the functions of QEMU's that `port` names exist and do nothing."""
import importlib.machinery
import importlib.util
import io
import contextlib
import pathlib
import re
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
from csource import Refused, Source  # noqa: E402


def load_port():
    loader = importlib.machinery.SourceFileLoader('port', str(HERE / 'port'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('port', loader))
    loader.exec_module(module)
    return module


PORT = load_port()


def define(name, body='', head='static void'):
    return f'{head} {name}(int a)\n{{\n{body}}}\n\n'


def arms(user, system):
    return f'#ifdef CONFIG_USER_ONLY\n{user}#else\n{system}#endif\n\n'


def made_up_tree():
    """The text of each file of the tree."""
    include = '#include "internal-target.h"\n\n'
    pages = ''.join(define(name) for name in PORT.PAGE_FUNCTIONS)
    stores = ''.join(define(name) for name in PORT.STORE_FUNCTIONS)
    maint = include + arms(''.join(define(name) for name in PORT.USER_PAGE_FUNCTIONS), pages)
    for name in ('tb_jmp_cache_inval_tb', 'do_tb_phys_invalidate', 'tb_phys_invalidate', 'tb_link_page'):
        maint += define(name)
    maint += define('tb_remove_from_jmp_list', head='static inline void') + define('tb_jmp_unlink')
    maint += arms(''.join(define(name) for name in PORT.USER_STORE_FUNCTIONS), stores)

    helpers = ''.join(define(name, '    if (a) {\n        return;\n    }\n    put(a);\n') for name in PORT.STORE_HELPERS)
    probes = ''.join(define(name, '    if (env + retaddr) {\n        notdirty_write(a);\n    }\n', 'int')
                     for name in PORT.PROBES)
    tlb = include + define('tlb_set_page_full', '    set(cpu, is_ram, prot, write_flags, iotlb);\n', 'void')
    tlb += define('notdirty_write', '    if (ram_addr) {\n        tlb_set_dirty(cpu, ram_addr);\n    }\n')
    tlb += probes + helpers + '#define ATOMIC_MMU_CLEANUP\n'

    addresses = ''
    for which in (0, 1):
        addresses += define(f'tb_page_addr{which}', arms('    return 1;\n', '    return 2;\n'), 'static inline int')
        addresses += define(f'tb_set_page_addr{which}', arms('    one();\n', '    two();\n'), 'static inline void')
    return {
        'meson.build': "threads = dependency('threads')\n",
        'accel/tcg/meson.build': "tcg_specific_ss.add(files(\n  'tb-maint.c', # (\n))\n",
        'include/exec/translation-block.h': '#include "exec/vaddr.h"\n\nstruct TranslationBlock {\n    int icount;\n'
                                            '#ifdef CONFIG_USER_ONLY\n    Node itree;\n#else\n    long page_next[2];\n    long page_addr[2];\n#endif\n    QemuSpin jmp_lock;\n};\n',
        'include/exec/exec-all.h': addresses,
        'accel/tcg/monitor.c': define('tb_tree_stats_iter', '    count(tb->page_addr[1]);\n'),
        'accel/tcg/tb-maint.c': maint,
        'accel/tcg/tb-internal.h': arms(''.join(define(name) for name in PORT.USER_LOCK_FUNCTIONS), 'int a;\n'),
        'accel/tcg/internal-target.h': arms(define('page_table_config_init'), 'int a;\n'),
        'accel/tcg/translate-all.c': include + define('setjmp_gen_code', '    return tcg_gen_code(a, (1));\n', 'int')
                                     + define('cpu_unwind_data_from_tb', head='static int')
                                     + define('tb_gen_code', '    if (tb) {\n        tb_lock_page0(max_insns);\n    }\n'),
        'accel/tcg/cpu-exec.c': include + define('cpu_tb_exec', '    a = tcg_qemu_tb_exec(a);\n')
                                + define('cpu_exec_longjmp_cleanup'),
        'accel/tcg/cputlb.c': tlb,
        'linux-user/exit.c': '#include "qemu.h"\n\n' + define('preexit_cleanup'),
    }


class Tree:
    """A made-up tree on disk, for one test."""

    def __init__(self, files=None):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        for name, text in (files or made_up_tree()).items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text, encoding='utf-8')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def texts(self):
        return {str(file.relative_to(self.path)): file.read_text(encoding='utf-8')
                for file in self.path.rglob('*') if file.is_file()}

    def port(self, *options):
        """Return the exit status, and the text of both outputs."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = PORT.main([*options, str(self.path)])
        return status, said.getvalue()


class TestPort(unittest.TestCase):
    def ported(self, name):
        with Tree() as tree:
            self.assertEqual(tree.port()[0], 0)
            return tree.texts()[name]

    def test_port_copies_its_own_files(self):
        with Tree() as tree:
            tree.port()
            for ours, new in PORT.NEW_FILES.items():
                self.assertEqual(tree.texts()[new], (HERE / ours).read_text(encoding='utf-8'))

    def test_port_takes_the_functions_of_both_modes_out_and_leaves_those_that_retired_calls(self):
        maint = Source('tb-maint.c', self.ported('accel/tcg/tb-maint.c'))
        self.assertEqual({name for name, _, _, _ in maint.functions()}, {'tb_remove_from_jmp_list', 'tb_jmp_unlink'})

    def test_port_makes_two_functions_external(self):
        maint = self.ported('accel/tcg/tb-maint.c')
        self.assertIn('\nvoid tb_jmp_unlink(int a)', maint)
        self.assertIn('\nvoid tb_remove_from_jmp_list(int a)', maint)

    def test_port_confirms_at_each_exit_of_a_store_helper(self):
        body = self.ported('accel/tcg/cputlb.c').split('do_st16_mmu(int a)')[1].split('\n}')[0]
        self.assertEqual(body.split(), '{ if (a) { pagelock_confirm(); return; } put(a); pagelock_confirm();'.split())

    def test_port_puts_the_call_behind_the_store_check_of_each_probe(self):
        self.assertEqual(len(re.findall(r'notdirty_write\(a\);\s+pagelock_probed\(', self.ported('accel/tcg/cputlb.c'))), 4)

    def test_port_wraps_the_generation_of_code(self):
        self.assertIn('return pagelock_translated(tcg_gen_code(a, (1)));', self.ported('accel/tcg/translate-all.c'))

    def test_port_asks_how_long_a_block_may_be_once_its_page_is_locked(self):
        self.assertRegex(self.ported('accel/tcg/translate-all.c'),
                         r'tb_lock_page0\(max_insns\);\s+max_insns = pagelock_limit\(tb, max_insns\);')

    def test_port_changes_members_of_a_block(self):
        block = self.ported('include/exec/translation-block.h')
        self.assertEqual(re.findall(r'(\w+)(?:\[2\])?;', block), ['icount', 'jmp_lock', 'pagelock', 'pagelock'])

    def test_port_replaces_the_arms_of_both_modes(self):
        addresses = self.ported('include/exec/exec-all.h')
        new = '    return pagelock_page_addr(&tb->pagelock, 0);\n'
        self.assertIn(f'#ifdef CONFIG_USER_ONLY\n{new}#else\n{new}#endif', addresses)

    def test_port_is_refused_a_second_time(self):
        with Tree() as tree:
            tree.port()
            before = tree.texts()
            status, said = tree.port()
            self.assertEqual((status, tree.texts()), (1, before))
            self.assertIn('ported already', said)

    def test_check_lists_every_edit_and_changes_nothing(self):
        with Tree() as tree:
            status, said = tree.port('--check')
            self.assertEqual((status, tree.texts()), (0, made_up_tree()))
            self.assertEqual(len(said.splitlines()), len(list(PORT.edits())) + len(PORT.NEW_FILES))

    def test_an_edit_that_does_not_find_its_place_names_file_and_place_and_changes_nothing(self):
        for path, _, method, arguments in PORT.edits():
            name = PORT.place(arguments)
            with self.subTest(path=path, method=method, name=name):
                files = made_up_tree()
                files[path] = re.sub(r'(?<![\w.])' + re.escape(name), 'x' + name, files[path])
                with Tree(files) as tree:
                    status, said = tree.port()
                    self.assertEqual((status, tree.texts()), (1, files))
                    self.assertIn(f'port: {path}: ', said)
                    self.assertIn(name, said)

    def test_a_missing_file_is_named(self):
        files = made_up_tree()
        del files['accel/tcg/cputlb.c']
        with Tree(files) as tree:
            status, said = tree.port()
            self.assertEqual(status, 1)
            self.assertIn('accel/tcg/cputlb.c: No such file', said)

    def test_an_unknown_function_beside_those_to_be_taken_out_is_named(self):
        files = made_up_tree()
        files['accel/tcg/tb-maint.c'] = files['accel/tcg/tb-maint.c'].replace(
            'static void tb_remove(int a)', 'static void new_one(int a)\n{\n}\n\nstatic void tb_remove(int a)')
        with Tree(files) as tree:
            status, said = tree.port()
            self.assertEqual(status, 1)
            self.assertIn('new_one', said)


class TestSource(unittest.TestCase):
    def refused(self, text, method, *arguments):
        with self.assertRaises(Refused) as caught:
            getattr(Source('file.c', text), method)(*arguments)
        return str(caught.exception)

    def test_a_function_in_a_comment_or_a_string_is_none(self):
        text = '/* void f(void) { } */\nconst char *s = "void f(void) {}";\nvoid f(void)\n{\n}\n'
        self.assertEqual(Source('file.c', text).function('f')[0], text.rindex('void f'))

    def test_two_definitions_are_refused(self):
        self.assertIn('file.c: f(): 2 definitions', self.refused(define('f') + define('f'), 'external', 'f'))

    def test_a_prototype_and_a_call_are_no_definition(self):
        source = Source('file.c', 'void f(int a);\n' + define('g', '    f(1);\n'))
        self.assertEqual(source.functions('f'), [])

    def test_a_call_without_braces_is_refused(self):
        text = define('f', '    if (a)\n        g();\n')
        self.assertIn('no statement in braces', self.refused(text, 'after', 'f', 'g', 'h();', 1, []))

    def test_another_number_of_calls_is_refused(self):
        text = define('f', '    g();\n    g();\n')
        self.assertIn('file.c: f(): 2 calls of g(), expected 1', self.refused(text, 'after', 'f', 'g', 'h();', 1, []))

    def test_a_name_that_a_new_call_needs_is_missing(self):
        self.assertIn('no cpu in it', self.refused(define('f', '    g();\n'), 'after', 'f', 'g', 'h(cpu);', 1, ['cpu']))

    def test_a_return_without_braces_is_refused(self):
        text = define('f', '    if (a)\n        return;\n')
        self.assertIn('no statement in braces', self.refused(text, 'at_exits', 'f', 'h();'))

    def test_a_function_with_a_result_has_no_exits_to_edit(self):
        self.assertIn('it has a result', self.refused(define('f', '    return 1;\n', 'int'), 'at_exits', 'f', 'h();'))

    def test_a_macro_with_a_body_is_refused(self):
        self.assertIn('file.c: M: 0 definitions', self.refused('#define M 1\n', 'macro', 'M', 'h()'))

    def test_an_arm_is_replaced_for_one_mode_alone(self):
        source = Source('file.c', define('f', arms('    one();\n', '    two();\n')))
        source.arm_becomes('f', '    three();', 'user')
        self.assertIn('#ifdef CONFIG_USER_ONLY\n    three();\n#else\n    two();\n#endif', source.text)

    def test_the_arm_for_system_mode_is_found_behind_each_form_of_the_condition(self):
        for head, first in (('#ifdef CONFIG_USER_ONLY', 0), ('#if defined(CONFIG_USER_ONLY)', 0),
                            ('#ifndef CONFIG_USER_ONLY', 1), ('#if !defined(CONFIG_USER_ONLY)', 1)):
            text = f'{head}\nint a;\n#else\nint b;\n#endif\n'
            (begin, end), = Source('file.c', text).arms('system')
            self.assertEqual(text[begin:end], 'int a;\n' if first else 'int b;\n')


if __name__ == '__main__':
    unittest.main()
