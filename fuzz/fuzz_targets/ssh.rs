//! libFuzzer's way into [`keelson_fuzz::targets::ssh`]; without libFuzzer, runs the files named as arguments.
#![cfg_attr(fuzzing, no_main)]

keelson_fuzz::target!(ssh);
