//! libFuzzer's way into [`keelson_fuzz::targets::qnet_l4`]; without libFuzzer, runs the files named as arguments.
#![cfg_attr(fuzzing, no_main)]

keelson_fuzz::target!(qnet_l4);
