"""The networks that the authors published, in the folder `cifar_models/` of their repository, and their git blob hashes."""

FOLDER = "cifar_models"
#: File and blob SHA-1 of each network, by method and the distortion that it was trained against.
FILES: dict[tuple[str, str | None], tuple[str, str]] = {
    ("Baseline", None): ("CIFAR_100_fine_best_model.npy", "98ec646ea30abacae664c41be1358baab47428f9"),
    ("Finetune-1", "blur"): ("CIFAR_100_blur_finetune_layers_1.npy", "2d61e08ebdbc5c54b7e686ba5736c081868840d4"),
    ("Finetune-3", "blur"): ("CIFAR_100_blur_finetune_layers_3.npy", "fc691d5d5b4ea18be92a6f121484190b10ec2b4f"),
    ("Finetune-6", "blur"): ("CIFAR_100_blur_finetune_layers_6.npy", "eed52bf38f4e8d6ba02ab6b89aef20f647e17319"),
    ("Finetune-9", "blur"): ("CIFAR_100_blur_finetune_layers_9.npy", "e795305b234c653f5dd8dbed60b6c22accd7ef14"),
    ("Finetune-1", "awgn"): ("CIFAR_100_awgn_finetune_layers_1.npy", "539b7e8e0f37be222cc8c953993393e40194bf22"),
    ("Finetune-3", "awgn"): ("CIFAR_100_awgn_finetune_layers_3.npy", "8129fe37acba96ebc109ca68cfcf7d5f44816d59"),
    ("Finetune-6", "awgn"): ("CIFAR_100_awgn_finetune_layers_6.npy", "55da666f8574abff31a74327bec7969a7b3cfc41"),
    ("Finetune-9", "awgn"): ("CIFAR_100_awgn_finetune_layers_9.npy", "527bcbb8891c53deaf895b11e1e1c5fd4a2be2e9"),
    ("Deepcorr-1", "blur"): ("CIFAR_100_blur_dc_top50_l1.npy", "d4f4e980e89cc2fe955886bb03b01895e839a97e"),
    ("Deepcorr-3", "blur"): ("CIFAR_100_blur_dc_top50_l3.npy", "da2a43f790e00842e97fed83c3a6fcef6b33c0f2"),
    ("Deepcorr-6", "blur"): ("CIFAR_100_blur_dc_top50_l6.npy", "75e76874e5af079812f73d404982f2f3b40a56a2"),
    ("Deepcorr-1", "awgn"): ("CIFAR_100_awgn_dc_top50_l1.npy", "4d4a88e48c640c826a4de779659626f241f8c585"),
    ("Deepcorr-3", "awgn"): ("CIFAR_100_awgn_dc_top50_l3.npy", "c284cc9a5fd0c138f5b4e86171b320acebbb1f31"),
    ("Deepcorr-6", "awgn"): ("CIFAR_100_awgn_dc_top50_l6.npy", "609dec943fce259950a21b07fea94c260a2b0b92"),
}
